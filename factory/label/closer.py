"""One sample at full size: where a class is, where its parts would be, and so which pixels change."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from torch import Tensor

from factory.label.render import Renderer, smaller
from factory.segment.tree.mixture import parts_of

_MOST_BYTES = 2**29

Rendered = tuple[UInt8[np.ndarray, "s s 3"], Float32[Tensor, "nodes s s"]]
"""An image with the scores of all nodes at its pixels."""


class CloserLook:
    """Renders samples at the image's own size (at most 256 px), and keeps the latest of them."""

    def __init__(self, renderer: Renderer, most_px: int = 256) -> None:
        """Look at samples of `renderer`, made smaller if they have a side of more than `most_px`."""
        self._renderer, self._side = renderer, min(renderer.side, most_px)
        self._kept: OrderedDict[int, Rendered] = OrderedDict()
        self._lock = threading.Lock()

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Sample `index`."""
        return self._rendered(index)[0]

    def masks(
        self, index: int, classes: Sequence[Sequence[int]], at: int
    ) -> tuple[UInt8[np.ndarray, "s s"], UInt8[np.ndarray, "s s"]]:
        """Where class `at` is in sample `index`, and where its parts would be as classes of their own.

        The first mask is 1 inside the class; the second holds the position of the part (see
        `parts_of`), from 1, and 0 where another class would be.
        """
        scores = self._rendered(index)[1]
        nodes = list(classes[at])
        others = [node for place, group in enumerate(classes) if place != at for node in group]
        # The class's own nodes come first: of equal scores the first counts, and then is the same.
        inside = scores[nodes + others].argmax(dim=0) < len(nodes)
        parts = parts_of(self._renderer.tree, nodes)
        winner = scores[parts + others].argmax(dim=0) + 1
        winner[winner > len(parts)] = 0
        return inside.byte().numpy(), winner.byte().numpy()

    def _rendered(self, index: int) -> Rendered:
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        image, scores = self._renderer.render(index, self._side)
        found = smaller(image, self._side), scores
        with self._lock:
            self._kept[index] = found
            size = found[1].nbytes
            while len(self._kept) > max(1, _MOST_BYTES // size):
                self._kept.popitem(last=False)
        return found
