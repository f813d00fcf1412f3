"""A few samples of a dataset with the score of every tree node at every pixel.

The mask of a cut is the argmax over the planes of its own nodes, which is not the union of finer
masks: only the scores of all nodes can show every cut as the dataset will have it.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from factory.label.render import Renderer

NUM_SAMPLES = 20
"""Number of samples on the page: at first the first of the dataset."""
MOST_SAMPLES = 100_000
"""Samples up to this number can be looked at."""

_MOST_BYTES = 2**29


@dataclass(frozen=True, slots=True)
class Gallery:
    """Samples, and the scores from which the masks of any cut follow."""

    images: UInt8[np.ndarray, "n s s 3"]
    """RGB, at most 256 px."""
    scores: Float32[Tensor, "nodes n h w"]
    """Scores of all nodes' planes at the centres of h x w squares of the image."""

    def masks(self, cut: Sequence[int]) -> UInt8[np.ndarray, "n h w"]:
        """The masks of a cut: each pixel's value is a position in `cut`."""
        best = self.scores[cut[0]].clone()
        winner = torch.zeros(best.shape, dtype=torch.uint8)
        for position, node in enumerate(cut[1:], start=1):
            score = self.scores[node]
            winner.masked_fill_(score > best, position)
            torch.maximum(best, score, out=best)
        masks: np.ndarray = winner.numpy()
        return masks


class Galleries:
    """The first samples, and those that were last asked for: drawn once, and no others kept."""

    def __init__(self, renderer: Renderer, first: Gallery) -> None:
        """Draw samples by `renderer`; those of `first` are drawn."""
        self._renderer, self._first = renderer, first
        self._last: tuple[int, Gallery] = (0, first)
        self._lock = threading.Lock()  # several threads ask; one of them draws

    def starting_at(self, index: int) -> Gallery:
        """Twenty samples from number `index` on."""
        if index == 0:
            return self._first
        with self._lock:
            if self._last[0] != index:
                self._last = index, draw_gallery(self._renderer, index)
            return self._last[1]


def draw_gallery(renderer: Renderer, first: int = 0) -> Gallery:
    """Generate twenty samples of a dataset from `first` on, with the scores of all nodes of its tree.

    The resolution of masks is limited by half a GiB of scores; their pixels are a subset of the full
    mask's pixels.
    """
    rows = _mask_side(renderer.side, renderer.tree.num_nodes)
    drawn = [renderer.render(index, rows) for index in range(first, first + NUM_SAMPLES)]
    images, scores = zip(*drawn, strict=True)
    return Gallery(np.stack(images), torch.stack(scores, dim=1))


def _mask_side(side: int, num_nodes: int) -> int:
    while side > 16 and num_nodes * NUM_SAMPLES * side * side * 4 > _MOST_BYTES:
        side //= 2
    return side
