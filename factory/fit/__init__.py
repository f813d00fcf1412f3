"""Fit segmenters on pixels streamed from the generator. The table of methods that need fitting."""

FITTERS = {"kmeans": "factory.fit.kmeans:fit_kmeans", "klish": "factory.fit.klish:fit_klish"}
"""Segmenter kind to the function that fits it; a kind that is not here needs no fitting."""
