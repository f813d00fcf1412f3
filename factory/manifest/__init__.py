"""Receipts, manifest, label table, coverage and all paths of a dataset. No store, no torch."""
