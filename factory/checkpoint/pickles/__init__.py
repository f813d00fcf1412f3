"""A restricted unpickler: pickles are interpreted as data, and nothing in them is executed."""
