"""KLiSH: k-means clusters of feature pixels, merged by linear separability, as a linear head.

Source: Xu, Zhang and Hu 2023 (TPAMI), "Extracting semantic knowledge from GANs with unsupervised
learning", https://arxiv.org/abs/2211.16710, and the released code. Where we differ:

- Pixels are sampled at random places instead of taken whole, and k-means keeps the best of several
  seedings; truncation and noise are the job's.
- One-vs-rest planes do not depend on each other, so that after a merge only the new cluster's plane
  is fitted again, to its minimum; the release takes a few steps on all of them.
- Ties, which the release gives to the first cluster, go to the most alike pair, then to the
  smallest: on easy features all clusters are separated equally well.
- A plane is kept for every node of the merge tree, so that any cut can be made from one fit.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from factory.errors import JobError
from factory.fit.kmeans import cluster, nearest
from factory.fit.pixels import PixelSample, choose_layers, sample_pixels
from factory.fit.separation import measure, separate
from factory.generate.base import Generator
from factory.segment.hierarchy import (
    HISTORY_NAME,
    MARGINS_NAME,
    PLANES_NAME,
    SIZES_NAME,
    Hierarchy,
)
from factory.segment.labels import unnamed_labels
from factory.segment.linear_head import weight_name
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter
from factory.spec import DatasetSpec, KlishSpec

_SECOND_STAGE = 2**62


@dataclass(frozen=True, slots=True)
class Merged:
    """Clusters that are left, and how it came to them."""

    planes: Float32[Tensor, "k c1"]
    """One plane per cluster, the bias last."""
    ids: Int64[Tensor, " p"]
    """The cluster of each pixel. It is not always the one with the highest score."""
    history: Float32[Tensor, "m 4"]
    """Each merge: the tree ids of the two clusters, the worse separated one first; its cluster IoU;
    their extended cosine similarity. Leaves are numbered by decreasing size, the cluster made by
    merge t is the number of leaves + t."""
    least_iou: float
    """Cluster IoU of the worst separated cluster left."""
    rounds: int
    """Rounds of all fits of planes."""
    nodes: list[Float32[Tensor, " c1"]]
    """The plane of every node."""
    node_sizes: list[int]
    """Pixels of every node."""


def fit_klish(
    spec: KlishSpec,
    dataset: DatasetSpec,
    generator: Generator,
    *,
    weights_sha256: str,
    on_progress: Callable[[int, int], None],
) -> bytes:
    """Fit on pixels of `generator` and return the segmenter file.

    Clusters are found on one half of the images and merged on the other. The sums run on one
    thread, because their number would change the last digits.

    Raises:
        JobError: If there are too few distinct pixels, or a layer is unknown.
    """
    layers = choose_layers(spec.layers, generator.facts)
    half = spec.fit.num_images
    second = spec.fit.model_copy(update={"seed": spec.fit.seed + _SECOND_STAGE})
    with _one_thread():
        pixels = sample_pixels(
            generator, dataset, spec.fit, layers, lambda done, _: on_progress(done, 2 * half)
        )
        centres = _clusters(pixels, spec)
        pixels = sample_pixels(
            generator, dataset, second, layers, lambda done, _: on_progress(half + done, 2 * half)
        )
        tree = grow_tree(pixels.vectors, centres)
        return _encode(tree, pixels, spec, dataset, weights_sha256)


def grow_tree(vectors: Float32[Tensor, "p c"], centres: Float32[Tensor, "m c"]) -> Hierarchy:
    """The merge tree of the clusters of `vectors` around `centres`, down to two."""
    merged = merge_clusters(vectors, centres, 2)
    planes = torch.stack(merged.nodes)
    sizes = torch.tensor(merged.node_sizes)
    tree = Hierarchy(planes, sizes, merged.history, torch.zeros(len(centres) - 1))
    margins = [
        _lead(vectors, planes[list(tree.flat_cut(count))]) for count in range(2, len(centres) + 1)
    ]
    return dataclasses.replace(tree, margins=torch.stack(margins))


def _lead(vectors: Tensor, planes: Tensor) -> Tensor:
    best = torch.addmm(planes[:, -1], vectors, planes[:, :-1].T).topk(2, dim=1).values
    return (best[:, 0] - best[:, 1]).median()


def merge_clusters(
    vectors: Float32[Tensor, "p c"], centres: Float32[Tensor, "m c"], num_classes: int
) -> Merged:
    """Merge the clusters of `vectors` around `centres` until `num_classes` are left.

    The cluster that its plane separates worst joins the one that the planes find most alike.
    """
    ids, sizes, centres = _by_size(vectors, centres)
    nodes = list(range(len(centres)))
    history = []
    classes = torch.arange(len(centres))
    planes, rounds = separate(vectors, ids, classes, _first_planes(centres))
    all_planes, all_sizes = list(planes.clone()), sizes.tolist()
    iou, alike = measure(vectors, ids, planes)
    while len(planes) > num_classes:
        worst, partner = choose_pair(iou, alike, sizes)
        history.append(
            [nodes[worst], nodes[partner], float(iou[worst]), float(alike[worst, partner])]
        )
        nodes[partner] = len(centres) + len(history) - 1
        planes[partner] = merged_plane(planes, sizes, worst, partner)
        sizes[partner] += sizes[worst]
        ids = torch.where(ids == worst, partner, ids)
        ids = ids - (ids > worst).long()
        planes, sizes = _without(planes, worst), _without(sizes, worst)
        nodes.pop(worst)
        new = torch.tensor([partner - (partner > worst)])
        planes[new], taken = separate(vectors, ids, new, planes[new])
        rounds += taken
        all_planes.append(planes[new[0]].clone())
        all_sizes.append(int(sizes[new[0]]))
        iou, alike = measure(vectors, ids, planes)
    return Merged(
        planes,
        ids,
        torch.tensor(history).view(-1, 4),
        float(iou.min()),
        rounds,
        all_planes,
        all_sizes,
    )


def choose_pair(
    iou: Float64[Tensor, " k"], alike: Float64[Tensor, "k k"], sizes: Int64[Tensor, " k"]
) -> tuple[int, int]:
    """The cluster that is separated worst, and the other one that it is most alike.

    Of equally bad clusters it is the one with the most alike partner; of those, and of equally
    alike partners, the smallest.
    """
    others = alike.clone().fill_diagonal_(-1)
    closest = others.amax(dim=1).tolist()
    ious, counts = iou.tolist(), sizes.tolist()
    worst = min(range(len(ious)), key=lambda k: (ious[k], -closest[k], counts[k]))
    row = others[worst].tolist()
    partner = min(range(len(row)), key=lambda k: (-row[k], counts[k]))
    return worst, partner


def merged_plane(
    planes: Float32[Tensor, "k c1"], sizes: Int64[Tensor, " k"], first: int, second: int
) -> Float32[Tensor, " c1"]:
    """Where the search for two clusters' common plane starts: their mean, weighted by pixels."""
    whole = sizes[first] + sizes[second]
    share = float(sizes[first] / whole.clamp(min=1))
    return planes[first] * share + planes[second] * (1 - share)


def _clusters(pixels: PixelSample, spec: KlishSpec) -> Tensor:
    try:
        centres, _ = cluster(pixels.vectors, spec.initial_clusters, spec.fit.seed)
    except JobError as error:
        raise JobError(
            f"dataset.segmenter.initial_clusters: found {spec.initial_clusters}, but the fitting "
            "pixels hold fewer distinct vectors; ask for fewer clusters or fit on more images"
        ) from error
    return centres


def _by_size(vectors: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest centre of each pixel, its pixels, and the centres: the largest cluster first."""
    ids, _ = nearest(vectors, centres)
    sizes = torch.bincount(ids, minlength=len(centres))
    order = sizes.argsort(descending=True, stable=True)
    return order.argsort()[ids], sizes[order], centres[order]


def _first_planes(centres: Tensor) -> Tensor:
    """The planes whose highest score is the nearest centre, scaled as in the release."""
    squares = centres.square().sum(dim=1)
    scale = squares.max().clamp(min=torch.finfo(torch.float32).tiny)
    return torch.cat([centres, -squares[:, None] / 2], dim=1) / scale


def _without(rows: Tensor, position: int) -> Tensor:
    return torch.cat([rows[:position], rows[position + 1 :]])


def _encode(
    tree: Hierarchy,
    pixels: PixelSample,
    spec: KlishSpec,
    dataset: DatasetSpec,
    weights_sha256: str,
) -> bytes:
    """The tree file: a head whose classes are the leaves, with all that other cuts need."""
    planes = tree.planes[: tree.num_leaves]
    tensors = {weight_name(n): block for n, block in pixels.split(planes[:, :-1]).items()}
    facts = SegmenterFacts(
        kind=spec.kind,
        generator_kind=dataset.generator.kind,
        weights_sha256=weights_sha256,
        layers=list(pixels.layers),
        labels=list(unnamed_labels(tree.num_leaves)),
        margin_scale=float(tree.margins[-1]),
        fitted_on={
            "num_images": 2 * spec.fit.num_images,
            "num_pixels": len(pixels.vectors),
            "num_channels": pixels.vectors.shape[1],
        },
    )
    merging = {
        PLANES_NAME: tree.planes,
        SIZES_NAME: tree.sizes,
        HISTORY_NAME: tree.history,
        MARGINS_NAME: tree.margins,
    }
    return encode_segmenter({**tensors, "bias": planes[:, -1], **merging}, facts)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
