"""The command line: parse arguments, call the library, print results; `app.py` lists the commands."""
