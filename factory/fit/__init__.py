"""Fit segmenters on pixels streamed from the generator. The table of methods that need fitting."""

import importlib
from collections.abc import Callable

from factory.spec import SegmenterSpec, StyleMixingSpec

FITTERS = {
    "kmeans": "factory.fit.kmeans:fit_kmeans",
    "klish": "factory.fit.klish:fit_klish",
    "style_mixing": "factory.fit.prototypes:fit_prototypes",
    "distil": "factory.fit.distil:fit_distil",
}
"""Segmenter kind to the function that fits it; a kind that is not here needs no fitting."""


def is_fitted(spec: SegmenterSpec) -> bool:
    """Whether a segmenter of `spec` has to be fitted; style mixing only if images share classes."""
    if isinstance(spec, StyleMixingSpec):
        return spec.classes is not None
    return spec.kind in FITTERS


def load_fitter(kind: str) -> Callable[..., bytes]:
    """The function that fits `kind`, one of `FITTERS`."""
    module, _, name = FITTERS[kind].partition(":")
    fit: Callable[..., bytes] = getattr(importlib.import_module(module), name)
    return fit
