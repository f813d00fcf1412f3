"""Datasets made of other datasets: a subset of one, or several merged. No generator, no torch."""
