"""KLiSH: k-means clusters of feature pixels, merged by linear separability, as a tree of linear heads.

Source: Xu, Zhang and Hu 2023 (TPAMI), "Extracting semantic knowledge from GANs with unsupervised
learning", https://arxiv.org/abs/2211.16710, and the released code. Where we differ: pixels are
sampled at random places instead of taken whole, within a memory budget; truncation and noise are
the job's; clusters are found on clipped vectors unless `merging` is `published`, and `merging.py` says
the rest.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from factory.errors import JobError
from factory.fit.content import best_layers, score_layers
from factory.fit.context import FitContext
from factory.fit.cost import LIKELY_CLASSES, FitCost, Probe, likely_head
from factory.fit.current import corners_of
from factory.fit.found import Found, read_found
from factory.fit.klish_forecast import forecast_seconds
from factory.fit.kmeans import cluster, clustering_bytes
from factory.fit.merging import Merged, merge_clusters
from factory.fit.pixels.ball import Ball, find_ball
from factory.fit.pixels.budget import (
    FLOAT_BYTES,
    SEEDING_PIXELS,
    HeldBytes,
    most_pixels,
    plan_sampling,
)
from factory.fit.pixels.components import find_components
from factory.fit.pixels.sampling import NUM_PARTS, Sampling
from factory.fit.pixels.separation import MOST_BYTES
from factory.generate.base import GeneratorFacts
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import weight_name
from factory.segment.tree.hierarchy import (
    HISTORY_NAME,
    MARGINS_NAME,
    PLANES_NAME,
    SIZES_NAME,
    Hierarchy,
)
from factory.segment.tree.layer_choice import as_figures
from factory.spec.klish import KlishSpec

_SECOND_STAGE = 2**62


def fit_klish(spec: KlishSpec, context: FitContext) -> bytes:
    """Fit on pixels of the generator and return the tree file: all leaves, and the merges.

    Clusters are found on one half of the images and merged on the other; the halves are never held
    together.

    Raises:
        JobError: If there are too few distinct pixels, a layer is unknown, all are constant or one holds
            NaN, or the pixels do not fit the memory they may use.
        Interrupted: If a stop was requested; the next fit resumes from the checkpoint.
    """
    spec, contents = _choose_layers(spec, context)
    sampling = choose_pixels(spec, context.pool.facts)
    settle = spec.merging != "published"
    found = read_found(context.checkpoint.load())
    if found is None:
        context.sample(sampling, "sampling 1/2", settle=settle)
        components, ball = _prepare(spec, sampling, context)
        found = Found(_leaves(spec, context), ball=ball, components=components)
        context.checkpoint.save(found.tensors(), now=True)
    others = replace(sampling, seed=sampling.seed + _SECOND_STAGE)
    context.sample(others, "sampling 2/2", settle=settle)
    if found.components is not None:
        context.pool.update("project", found.components)
    merged = merge_clusters(context, sampling.num_pixels, found)
    if found.components is not None:
        merged = replace(merged, hierarchy=_along_channels(merged.hierarchy, found.components))
    return _encode(merged, sampling, context, contents)


def _choose_layers(spec: KlishSpec, context: FitContext) -> tuple[KlishSpec, dict[str, float]]:
    """The settings with the layers that `auto` means, and each layer's score; as published, neither."""
    if spec.merging == "published" or spec.layers != "auto":
        return spec, {}
    choose_pixels(
        spec, context.pool.facts
    )  # too little memory is an error before anything is sampled
    scores = score_layers(context, spec.fit.seed)
    best = list(best_layers(scores, context.pool.facts))
    return spec.model_copy(update={"layers": best}), scores


def _prepare(
    spec: KlishSpec, sampling: Sampling, context: FitContext
) -> tuple[Tensor | None, Ball | None]:
    """Shorten the vectors, and clip them, as far as clusters are concerned, to a ball around most.

    Returns:
        The components that vectors are shortened to, None if they are short; and the ball. As
        published, neither.
    """
    if spec.merging == "published":
        return None, None
    # Of the first half's pixels, and kept with the clusters that were found in it: the merging sees
    # its own half by the same measure, after a resume too.
    sample = torch.cat(context.pool.query("spread", SEEDING_PIXELS // NUM_PARTS))
    components = find_components(sample.cpu(), sampling.widths)
    if components is not None:
        context.pool.update("project", components)
        sample = torch.cat(context.pool.query("spread", SEEDING_PIXELS // NUM_PARTS))
    ball = find_ball(sample)
    context.pool.update("clip", ball)
    return components, ball


def _leaves(spec: KlishSpec, context: FitContext) -> Tensor:
    """Centres of the leaves."""
    try:
        centres, _ = cluster(context, spec.initial_clusters, spec.fit.seed)
    except JobError as error:
        raise JobError(
            f"dataset.segmenter.initial_clusters: found {spec.initial_clusters}, but the fitting "
            "pixels hold fewer distinct vectors; ask for fewer clusters or fit on more images"
        ) from error
    return centres.cpu()


def _along_channels(tree: Hierarchy, components: Tensor) -> Hierarchy:
    """The same planes over the channels, as heads read them."""
    weights = tree.planes[:, :-1] @ components.cpu().T
    return replace(tree, planes=torch.cat([weights, tree.planes[:, -1:]], dim=1))


def _encode(
    merged: Merged, sampling: Sampling, context: FitContext, contents: dict[str, float]
) -> bytes:
    """The tree file: a head of all leaves, in their order, and the tree."""
    tree = merged.hierarchy
    leaves = tree.planes[: tree.num_leaves]
    blocks = sampling.split(leaves[:, :-1])
    tensors = {weight_name(name): block for name, block in blocks.items()}
    tensors |= {
        "bias": leaves[:, -1],
        PLANES_NAME: tree.planes,
        SIZES_NAME: tree.sizes,
        HISTORY_NAME: tree.history,
        MARGINS_NAME: tree.margins,
    }
    if tree.evidence is not None:
        tensors |= tree.evidence.tensors()
    return context.encode(
        tensors,
        layers=sampling.layers,
        labels=unnamed_labels(tree.num_leaves),
        margin_scale=float(tree.margins[-1]),
        fitted_on={
            "num_images": 2 * sampling.num_images,
            "num_pixels": sampling.num_pixels,
            "num_channels": sampling.num_channels,
            "num_rounds": merged.num_rounds,
            "agreement": round(merged.num_agreed / sampling.num_pixels, 6),
            **as_figures(contents),
        },
    )


def choose_pixels(spec: KlishSpec, facts: GeneratorFacts) -> Sampling:
    """Which pixels each of the two stages is fitted on.

    Raises:
        JobError: If a layer is unknown, or the pixels do not fit `fit.memory_gib`.
    """
    held = partial(_held, spec.initial_clusters)
    return plan_sampling(spec.layers, spec.fit, facts, held, corners_of(spec))


def _held(num_clusters: int, channels: int) -> HeldBytes:
    """The scores of all clusters at each pixel and the pixel's own; the planes while they are sought."""
    curves = max(MOST_BYTES, NUM_PARTS * (channels + 1) ** 2 * FLOAT_BYTES)
    planes = curves + curves // 2 + 4 * num_clusters * channels * FLOAT_BYTES
    fixed = max(clustering_bytes(num_clusters, channels), planes)
    return HeldBytes(FLOAT_BYTES * num_clusters + 1, fixed)


def _seconds(spec: KlishSpec, probe: Probe, batch_s: float) -> float:  # noqa: ARG001 - no masks are made in a fit
    return forecast_seconds(spec, probe, choose_pixels(spec, probe.generator.facts))


def _likely_rows(spec: KlishSpec) -> int:
    """Rows that the head will have, as far as the job says before the fit."""
    if spec.labels is not None:
        return sum(len(label.nodes) for label in spec.labels.labels)
    if isinstance(spec.cut, list):
        return len(spec.cut)
    return min(spec.initial_clusters, LIKELY_CLASSES) if spec.cut == "auto" else spec.cut


COST = FitCost(
    seconds=_seconds,
    shared_work=lambda spec: most_pixels(spec.fit) * spec.initial_clusters,
    stand_in=lambda spec, probe: likely_head(probe, _likely_rows(spec), spec.layers),
)
"""The cost of a fit by KLiSH."""
