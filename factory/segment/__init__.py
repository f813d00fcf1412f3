"""Images and their features to masks. `base.py` has the promise, `spec/methods.py` the table."""

from factory.plugins import Registry
from factory.spec.methods import METHODS

SEGMENTERS = Registry(
    noun="segmenter",
    group="factory.segmenters",
    table={kind: method.segmenter for kind, method in METHODS.items()},
)
