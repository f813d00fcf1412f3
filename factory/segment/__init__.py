"""Images and their features to masks. The table of segmenters; `base.py` has the promise."""

from factory.plugins import Registry

SEGMENTERS = Registry(
    noun="segmenter",
    group="factory.segmenters",
    table={
        "kmeans": "factory.segment.linear_head:LinearHead",
        "klish": "factory.segment.linear_head:LinearHead",
        "style_mixing": "factory.segment.style_mixing.segmenter:StyleMixing",
        "distil": "factory.segment.linear_head:LinearHead",
    },
)
