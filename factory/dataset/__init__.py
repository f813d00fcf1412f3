"""A dataset in a store: read its state and its samples, and rebuild its views, from the store alone."""
