"""A restricted pickle machine: pickles are interpreted as data, and nothing in them is executed."""
