"""Masks from images and feature maps. Protocols in `base.py`; the table in `spec/methods.py`."""

from factory.plugins import Registry
from factory.spec.methods import METHODS
from factory.spec.segmenters import PLUGIN_GROUP

SEGMENTERS = Registry(
    noun="segmenter",
    group=PLUGIN_GROUP,
    table={kind: method.segmenter for kind, method in METHODS.items()},
)
