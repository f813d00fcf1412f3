"""A generator's weights: fetch, validate, convert once, and read."""
