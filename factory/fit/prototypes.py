"""Prototypes: clusters of the clusters of many images, so that class ids mean the same in all of them.

A cluster's signature is the mean of the generator's features over its pixels; the signatures of some
images' clusters are themselves clustered by k-means, and the centres are the classes.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from factory.errors import JobError
from factory.fit.context import FitContext
from factory.fit.cost import FitCost, Probe, encode_stand_in, likely_rows
from factory.fit.kmeans import MOST_ROUNDS, nearest, try_seedings
from factory.fit.pixels.sampling import choose_layers, fitting_batch
from factory.segment.palette import unnamed_labels
from factory.segment.style_mixing.segmenter import PROTOTYPES_NAME, StyleMixing, single
from factory.segment.style_mixing.signatures import signatures
from factory.spec.style_mixing import SharedClassesSpec, StyleMixingSpec


def fit_prototypes(spec: StyleMixingSpec, context: FitContext) -> bytes:
    """Fit the classes of style mixing on images of the generator and return the segmenter file.

    Classes are numbered by decreasing number of pixels.

    Raises:
        JobError: If a setting does not fit the generator, or there are fewer clusters than classes.
        Interrupted: If a stop was requested.
    """
    shared = spec.classes
    assert shared is not None  # without shared classes there is nothing to fit
    layers = choose_layers(shared.layers, context.pool.facts)
    vectors, sizes = [], []
    context.progress.begin("mixing", shared.num_images)
    for found, counts in _clusters(spec, shared, context, layers):
        vectors.append(found[counts > 0].cpu())
        sizes.append(counts[counts > 0].cpu())
        context.progress.advance(1)
    rows, weights = torch.cat(vectors), torch.cat(sizes)
    if len(rows) < shared.num_classes:
        raise JobError(
            f"dataset.segmenter.classes.num_classes: found {shared.num_classes}, but "
            f"{shared.num_images} images have only {len(rows)} clusters; raise classes.num_images"
        )
    context.progress.begin("classes", MOST_ROUNDS)
    centres = try_seedings(rows, shared.num_classes, shared.seed, context.progress)
    ids, margins = nearest(rows, centres)
    pixels = torch.zeros(len(centres), dtype=weights.dtype).index_add_(0, ids, weights)
    order = pixels.argsort(descending=True, stable=True)
    return context.encode(
        {PROTOTYPES_NAME: centres[order]},
        layers=layers,
        labels=unnamed_labels(shared.num_classes, "class"),
        margin_scale=float(margins.median()),
        fitted_on={"num_images": shared.num_images, "num_clusters": len(rows)},
    )


def _clusters(
    spec: StyleMixingSpec,
    shared: SharedClassesSpec,
    context: FitContext,
    layers: tuple[str, ...],
) -> Iterator[tuple[Tensor, Tensor]]:
    """The signatures and sizes of the clusters of each fitting image."""
    generator, size = context.generator, context.dataset.batch_size
    device = torch.device("cpu")  # no fitted tensor exists yet that would need a device
    mixing = StyleMixing(spec.model_copy(update={"classes": None}), None, generator.facts, device)
    for batch_index in range(math.ceil(shared.num_images / size)):
        latents = fitting_batch(generator, context.dataset, shared.seed, batch_index)
        batch = generator.generate(latents, layers)
        for position in range(min(size, shared.num_images - batch_index * size)):
            distances = mixing.clusters(generator, single(latents, position))
            ids = distances.argmin(dim=0)
            maps = {name: batch.features[name][position] for name in layers}
            counts = torch.bincount(ids.flatten(), minlength=len(distances))
            yield signatures(ids, len(distances), maps), counts


def _seconds(spec: StyleMixingSpec, probe: Probe, batch_s: float) -> float:
    assert spec.classes is not None  # only fitted with shared classes
    return probe.batches_s(spec.classes.num_images, batch_s)


def _stand_in(spec: StyleMixingSpec, probe: Probe) -> bytes:
    shared = spec.classes
    assert shared is not None  # only fitted with shared classes
    layers, rows = likely_rows(probe, shared.num_classes, shared.layers)
    prototypes = torch.cat([rows[layer] for layer in layers], dim=1)
    return encode_stand_in(probe, layers, shared.num_classes, {PROTOTYPES_NAME: prototypes})


COST = FitCost(seconds=_seconds, stand_in=_stand_in)
"""The cost of a fit of shared classes."""
