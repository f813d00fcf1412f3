"""A dataset in a store: its state and its views, read and rebuilt from the store alone."""
