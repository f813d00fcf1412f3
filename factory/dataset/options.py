"""Options of the command line that errors of this room name. It imports nothing: help must be quick."""

TRUST_OPTION = "--trust-plugins"
"""The option of commands that run the programs which a dataset's job names."""
