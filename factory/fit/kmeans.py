"""K-means++ over feature pixels, as a linear head.

Source: Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding"; on generator
features without normalisation as in KLiSH (Xu et al., TPAMI 2023), stage one. Where we differ: the
best of several seedings is kept.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.errors import JobError
from factory.fit.pixels import PixelSample, choose_layers, sample_pixels
from factory.generate.base import Generator
from factory.identity import counter_rng
from factory.segment.labels import unnamed_labels
from factory.segment.linear_head import weight_name
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter
from factory.spec import DatasetSpec, KMeansSpec

_ROUNDS = 100
_SEEDINGS = 4
_SHIFT = 1e-4


def fit_kmeans(
    spec: KMeansSpec,
    dataset: DatasetSpec,
    generator: Generator,
    *,
    weights_sha256: str,
    on_progress: Callable[[int, int], None],
) -> bytes:
    """Fit on pixels of `generator` and return the segmenter file.

    Clusters are numbered by decreasing size, so that equal clusterings have equal files.

    Raises:
        JobError: If there are fewer distinct pixels than clusters, or a layer is unknown.
    """
    layers = choose_layers(spec.layers, generator.facts)
    pixels = sample_pixels(generator, dataset, spec.fit, layers, on_progress)
    centres, inertia = cluster(pixels.vectors, spec.num_clusters, spec.fit.seed)
    ids, margins = nearest(pixels.vectors, centres)
    sizes = torch.bincount(ids, minlength=spec.num_clusters)
    centres = centres[sizes.argsort(descending=True, stable=True)]
    blocks = pixels.split(centres)
    tensors = {weight_name(layer): block for layer, block in blocks.items()}
    tensors["bias"] = -centres.square().sum(dim=1) / 2
    facts = SegmenterFacts(
        kind=spec.kind,
        generator_kind=dataset.generator.kind,
        weights_sha256=weights_sha256,
        layers=list(layers),
        labels=list(unnamed_labels(spec.num_clusters)),
        margin_scale=float(margins.median()),
        fitted_on=_numbers(pixels, spec, inertia),
    )
    return encode_segmenter(tensors, facts)


def _numbers(pixels: PixelSample, spec: KMeansSpec, inertia: float) -> dict[str, int | float]:
    spread = float((pixels.vectors - pixels.vectors.mean(dim=0)).square().sum(dim=1).mean())
    return {
        "num_images": spec.fit.num_images,
        "num_pixels": len(pixels.vectors),
        "num_channels": pixels.vectors.shape[1],
        "explained": round(1 - inertia / spread, 6),
    }


def cluster(
    vectors: Float[Tensor, "p c"], num_clusters: int, seed: int
) -> tuple[Float[Tensor, "k c"], float]:
    """Centres, and the mean squared distance to them, of the best of four seedings.

    Raises:
        JobError: If there are fewer distinct vectors than clusters.
    """
    best: tuple[Tensor, float] | None = None
    for attempt in range(_SEEDINGS):
        rng = counter_rng("seeding", seed, attempt)
        centres = _seeded(vectors, num_clusters, rng)
        inertia = float("inf")
        for _ in range(_ROUNDS):
            ids, _ = nearest(vectors, centres)
            moved = _means(vectors, ids, centres)
            shift = float((moved - centres).abs().max())
            centres = moved
            if shift < _SHIFT:
                break
        ids, _ = nearest(vectors, centres)
        inertia = float((vectors - centres[ids]).square().sum(dim=1).mean())
        if best is None or inertia < best[1]:
            best = (centres, inertia)
    assert best is not None  # there is at least one seeding
    return best


def nearest(
    vectors: Float[Tensor, "p c"], centres: Float[Tensor, "k c"]
) -> tuple[Int64[Tensor, " p"], Float[Tensor, " p"]]:
    """The nearest centre of each vector, and its lead over the second in the head's logits."""
    logits = vectors @ centres.T - centres.square().sum(dim=1) / 2
    best = logits.topk(2, dim=1)
    return best.indices[:, 0], best.values[:, 0] - best.values[:, 1]


def _seeded(vectors: Tensor, num_clusters: int, rng: np.random.Generator) -> Tensor:
    """K-means++ seeding: each next centre is a vector drawn by its squared distance to the rest."""
    chosen = [int(rng.integers(len(vectors)))]
    distance = (vectors - vectors[chosen[0]]).square().sum(dim=1)
    while len(chosen) < num_clusters:
        reach = distance.double().cumsum(0)
        if float(reach[-1]) == 0:
            raise JobError(
                f"dataset.segmenter.num_clusters: found {num_clusters}, but the fitting pixels hold "
                f"only {len(chosen)} distinct vectors; ask for fewer clusters or fit on more images"
            )
        place = torch.searchsorted(reach, rng.random() * float(reach[-1]), right=True)
        chosen.append(min(int(place), len(vectors) - 1))
        latest = (vectors - vectors[chosen[-1]]).square().sum(dim=1)
        distance = torch.minimum(distance, latest)
    return vectors[chosen].clone()


def _means(vectors: Tensor, ids: Tensor, centres: Tensor) -> Tensor:
    """The mean of each cluster; an empty cluster keeps its centre."""
    sizes = torch.bincount(ids, minlength=len(centres)).float()[:, None]
    sums = torch.zeros_like(centres).index_add_(0, ids, vectors)
    return torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
