"""Samples of a dataset, one at a time, each with the score of every tree node at its pixels."""

import threading
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor

from factory.generate.base import Generator
from factory.generate.latents import LatentSampler
from factory.segment.linear_head import plane_scores
from factory.segment.segmenter_file import SegmenterFacts
from factory.segment.tree.hierarchy import Hierarchy
from factory.spec import DatasetSpec

_LARGEST_SIDE = 256
_NODES_AT_ONCE = 16


class Renderer:
    """Generates samples for the label page; several threads may call it."""

    def __init__(
        self, generator: Generator, dataset: DatasetSpec, tree: Hierarchy, facts: SegmenterFacts
    ) -> None:
        """Render samples of `dataset`; `facts` are of the file that holds `tree`."""
        self.tree = tree
        self.resolution = generator.facts.resolution
        self.side = min(self.resolution, _LARGEST_SIDE)
        layers = facts.layers
        self._generator, self._layers, self._corners = generator, layers, facts.corners
        self._sampler = LatentSampler(generator, dataset.latents, dataset.generator)
        widths = [generator.facts.layers[layer].channels for layer in layers]
        blocks = torch.split(tree.planes[:, :-1], widths, dim=1)
        self._blocks, self._bias = dict(zip(layers, blocks, strict=True)), tree.planes[:, -1:]
        self._lock = threading.Lock()

    def render(
        self, index: int, mask_side: int, *, is_shifted: bool = False
    ) -> tuple[UInt8[np.ndarray, "s s 3"], Float32[Tensor, "nodes h h"]]:
        """Sample `index` at `side` px (at most 256), and scores at `mask_side` x `mask_side` pixels.

        The scores are those at the centres of equal squares of the image; they live on the CPU. If
        they are shifted, they are those of another place in each square, by the index: classes may
        hold every second row or column alone (transposed convolutions), and a fixed place would see
        all of them, or none.
        """
        rows = columns = (torch.arange(mask_side) * 2 + 1) * self.resolution // (2 * mask_side)
        if is_shifted:
            step = max(1, self.resolution // mask_side)
            rows = torch.arange(mask_side) * self.resolution // mask_side + index % step
            columns = rows - index % step + index // step % step
        with self._lock, torch.inference_mode():
            batch = self._generator.generate(self._sampler.draw([index]), self._layers)
            image = smaller(batch.images[0].cpu().numpy(), self.side)
            return image, self._scores(batch.features, rows, columns)

    def _scores(self, features: Mapping[str, Tensor], rows: Tensor, columns: Tensor) -> Tensor:
        """Scores at these rows and columns, a few nodes at a time to bound memory."""
        device = next(iter(features.values())).device
        parts = []
        for first in range(0, len(self._bias), _NODES_AT_ONCE):
            some = slice(first, first + _NODES_AT_ONCE)
            weights = {layer: block[some].to(device) for layer, block in self._blocks.items()}
            bias = self._bias[some].to(device)
            scores = plane_scores(features, weights, bias, self.resolution, self._corners)
            parts.append(scores.cpu()[:, 0, rows][..., columns])
        return torch.cat(parts)


def smaller(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "s s 3"]:
    """`image` at `side` px, each pixel the mean of those that it covers."""
    picture = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    return np.asarray(picture)
