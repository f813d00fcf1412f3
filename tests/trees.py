"""A merge tree small enough to read, and a segmenter file that holds it."""

import torch

from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter, weight_name
from factory.segment.tree.hierarchy import (
    HISTORY_NAME,
    MARGINS_NAME,
    PLANES_NAME,
    SIZES_NAME,
    Hierarchy,
)

LAYERS = {"a": (3, 4), "b": (2, 16)}
"""Channels and side of the feature maps that the tree's planes read."""


def a_tree() -> Hierarchy:
    """Leaves 0 to 4; 5 = 3 + 4, 6 = 1 + 2, 7 = 0 + 5."""
    history = torch.tensor([[4.0, 3, 0.2, 0.9], [2, 1, 0.5, 0.5], [5, 0, 0.7, 0.4]])
    sizes = torch.tensor([50, 40, 30, 20, 10, 30, 70, 80])
    torch.manual_seed(0)
    return Hierarchy(torch.randn(8, 6), sizes, history, torch.tensor([2.0, 1.5, 1.2, 1.0]))


def tree_file(tree: Hierarchy | None = None, **facts: object) -> bytes:
    """A tree file for a generator with the feature maps `LAYERS`."""
    tree = tree or a_tree()
    planes = tree.planes[: tree.num_leaves]
    blocks = planes[:, :-1].split([channels for channels, _ in LAYERS.values()], dim=1)
    tensors = {weight_name(name): block for name, block in zip(LAYERS, blocks, strict=True)}
    merging = {
        PLANES_NAME: tree.planes,
        SIZES_NAME: tree.sizes,
        HISTORY_NAME: tree.history,
        MARGINS_NAME: tree.margins,
    }
    settings = {
        "kind": "klish",
        "generator_kind": "toy",
        "weights_sha256": "",
        "layers": list(LAYERS),
        "labels": list(unnamed_labels(tree.num_leaves)),
        "margin_scale": float(tree.margins[-1]),
        "fitted_on": {},
    } | facts
    return encode_segmenter(
        {**tensors, "bias": planes[:, -1], **merging}, SegmenterFacts(**settings)
    )
