"""A few samples of a dataset with the score of every tree node at every pixel.

The mask of a cut is the argmax over the planes of its own nodes, which is not the union of finer
masks: only the scores of all nodes can show every cut as the dataset will have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor

from factory.generate.base import Generator
from factory.generate.latents import LatentSampler
from factory.segment.linear_head import plane_scores
from factory.segment.tree.hierarchy import Hierarchy
from factory.spec import DatasetSpec

NUM_SAMPLES = 20
"""Number of samples on the page: the first of the dataset."""

_LARGEST_SIDE = 256
_MOST_BYTES = 2**29
_NODES_AT_ONCE = 16


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


def draw_gallery(
    generator: Generator,
    dataset: DatasetSpec,
    tree: Hierarchy,
    layers: Sequence[str],
) -> Gallery:
    """Generate the first twenty samples of `dataset`, with the scores of all nodes of `tree`.

    Pictures have at most 256 px. The resolution of masks is limited by half a GiB of scores; their
    pixels are a subset of the full mask's pixels.
    """
    resolution = generator.facts.resolution
    side = min(resolution, _LARGEST_SIDE)
    rows = _mask_side(side, tree.num_nodes)
    picks = (torch.arange(rows) * 2 + 1) * resolution // (2 * rows)
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    images, scores = [], []
    with torch.inference_mode():
        blocks, bias = _blocks(tree, generator, layers), tree.planes[:, -1:]
        for index in range(NUM_SAMPLES):
            batch = generator.generate(sampler.draw([index]), layers)
            images.append(_smaller(batch.images[0].cpu().numpy(), side))
            scores.append(_scores(batch.features, blocks, bias, resolution, picks))
        return Gallery(np.stack(images), torch.cat(scores, dim=1))


def _mask_side(side: int, num_nodes: int) -> int:
    while side > 16 and num_nodes * NUM_SAMPLES * side * side * 4 > _MOST_BYTES:
        side //= 2
    return side


def _blocks(tree: Hierarchy, generator: Generator, layers: Sequence[str]) -> dict[str, Tensor]:
    """The planes of all nodes as one weight matrix per layer."""
    widths = [generator.facts.layers[layer].channels for layer in layers]
    return dict(zip(layers, torch.split(tree.planes[:, :-1], widths, dim=1), strict=True))


def _scores(
    features: Mapping[str, Tensor],
    blocks: Mapping[str, Tensor],
    bias: Tensor,
    resolution: int,
    picks: Tensor,
) -> Float32[Tensor, "nodes 1 h w"]:
    """Scores of one sample at the picked rows and columns, a few nodes at a time to bound memory."""
    parts = []
    for first in range(0, len(bias), _NODES_AT_ONCE):
        some = slice(first, first + _NODES_AT_ONCE)
        device = next(iter(features.values())).device
        weights = {layer: block[some].to(device) for layer, block in blocks.items()}
        scores = plane_scores(features, weights, bias[some].to(device), resolution)
        parts.append(scores.cpu()[:, :, picks][..., picks])
    return torch.cat(parts)


def _smaller(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "s s 3"]:
    picture = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    return np.asarray(picture)
