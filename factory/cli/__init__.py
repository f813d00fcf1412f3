"""The command line: words in, calls out; `app.py` lists the commands."""
