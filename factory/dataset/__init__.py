"""A dataset in a store: what it holds, read and rebuilt from the store alone."""
