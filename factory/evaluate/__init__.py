"""Score a dataset's masks against a reference; `masks.py` is the entry point."""
