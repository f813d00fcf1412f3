"""A generator's weights: fetched, checked, converted once, and read as data."""
