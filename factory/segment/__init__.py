"""Masks from images and feature maps. Protocols in `base.py`; the table in `spec/methods.py`."""

from factory.plugins import Registry
from factory.spec.methods import METHODS

SEGMENTERS = Registry(
    noun="segmenter",
    group="factory.segmenters",
    table={kind: method.segmenter for kind, method in METHODS.items()},
)
