"""Read the masks that a job names: layouts that its samples should have, or edits of samples."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from factory.data import IGNORE
from factory.dataset.planned_files import LAYOUTS
from factory.dataset.reader import open_dataset
from factory.edit.layouts import MOST_LAYOUTS, Layouts, has_layouts, make_layouts, missing_classes
from factory.edit.layouts import find_layouts as find_stored
from factory.edit.pairs import SECTION
from factory.edit.search import check_gradients, check_rows
from factory.errors import JobError, StoreError
from factory.fit.annotations.classes import make_classes
from factory.fit.annotations.folder import check_folder, read_masks
from factory.generate import GENERATORS
from factory.generate.base import Generator, load_generator
from factory.generate.weights.find import LocalWeights
from factory.identity import counter_rng
from factory.manifest.labels import MaskClass
from factory.manifest.paths import SEGMENTER_PATH
from factory.run.edits import check_count, check_edit, make_change_of, read_edits
from factory.segment.base import AnySegmenter, load_segmenter
from factory.segment.methods import find_method, import_part
from factory.spec import DatasetSpec, LayoutSpec
from factory.store import Store

_SECTION = "dataset.sampling"


def read_wanted(spec: LayoutSpec, labels: Sequence[MaskClass], side: int) -> Layouts:
    """Read the layouts that `spec` names, for masks with the classes `labels` and `side` rows.

    Raises:
        JobError: If there are none, or one cannot be had with these classes at this size.
        StoreError: If the dataset that `spec` names cannot be read.
    """
    if spec.layouts is not None:
        masks = read_masks(Path(spec.layouts), make_classes(labels), side)
    else:
        assert spec.dataset is not None  # one of both is there
        masks = _draw(spec, spec.dataset, labels, side)
    if len(masks) > MOST_LAYOUTS:
        raise JobError(
            f"{_SECTION}.layouts: {len(masks):,} masks; at most {MOST_LAYOUTS:,} are taken"
        )
    return make_layouts(masks)


def read_masks_of(
    dataset: DatasetSpec,
    generator: Generator,
    labels: Sequence[MaskClass],
    digests: tuple[str, str],
) -> Layouts:
    """Read the masks that a job names: wanted layouts, or edited masks with their samples' keys.

    Args:
        dataset: The job's dataset, with one or the other.
        generator: Its generator.
        labels: The classes of its masks.
        digests: SHA-256 of the weights, and of the fitted segmenter; empty for a method without.

    Raises:
        JobError: If they cannot be used.
        StoreError: If a dataset that the job names cannot be read.
    """
    if dataset.sampling is not None:
        return read_wanted(dataset.sampling, labels, generator.facts.resolution)
    return make_layouts(read_edits(dataset, generator, labels, digests))


def check_search(dataset: DatasetSpec) -> None:
    """Require what layouts or edits need, as far as it can be told before anything is fitted.

    Raises:
        JobError: If a folder of masks is missing or empty, or generator or segmenter have no
            gradients and the search needs them.
        StoreError: If a dataset that layouts or masks belong to cannot be opened.
    """
    check_edit(dataset)
    spec = dataset.sampling
    if spec is None:
        return
    if spec.method == "optimise":
        kind = dataset.segmenter.kind
        segmenter = import_part(kind, find_method(kind).segmenter)
        check_gradients(GENERATORS.load(dataset.generator.kind), segmenter)
    if spec.dataset is not None:
        open_dataset(spec.dataset)
        return
    folder = Path(spec.layouts or "")
    check_folder(folder)
    if not any(folder.iterdir()):
        raise JobError(f"{folder}: has no mask; put some in, such as PNG with class ids")


def find_layouts(
    dataset: DatasetSpec,
    weights: LocalWeights,
    fitted: bytes,
    *,
    store: Store,
    theirs: Mapping[str, Any],
) -> bytes:
    """The file of a job's layouts or edited masks, or empty. A dataset goes on without their source.

    Args:
        dataset: The job's dataset.
        weights: The generator's weights.
        fitted: The segmenter file; empty for a method without.
        store: Where the dataset is, or will be.
        theirs: The identity of the dataset that is there; empty if there is none.

    Raises:
        JobError: If they cannot be used, or a class that is changed is unknown.
        StoreError: If a dataset that they are drawn from cannot be read.
    """
    if dataset.sampling is None and dataset.edit is None:
        return b""
    generator, labels = _meaning(dataset, weights, fitted)
    if not has_layouts(dataset):
        make_change_of(dataset, labels)  # it may refuse
        return b""
    digests = weights.sha256, hashlib.sha256(fitted).hexdigest() if fitted else ""
    try:
        found = read_masks_of(dataset, generator, labels, digests)
    except (JobError, StoreError):
        stored = LAYOUTS.read(store, theirs)
        if not stored:
            raise
        side = generator.facts.resolution
        found = find_stored(store, num_classes=len(labels), side=side)
    if dataset.edit is not None:
        check_count(dataset, len(found.files))
    return found.encode()


def check_edited_masks(
    dataset: DatasetSpec,
    generator: Generator,
    segmenter: AnySegmenter,
    made_of: tuple[str, bytes | None],
) -> None:
    """Require that the masks of edits, if there are any, can be used: a run would, after its fit.

    Args:
        dataset: The job's dataset.
        generator: Its generator.
        segmenter: Its segmenter.
        made_of: SHA-256 of the weights, and the fitted segmenter; None before its fit.

    Raises:
        JobError: If they cannot, or there are fewer than samples.
        StoreError: If the dataset that they belong to cannot be read.
    """
    weights_sha256, fitted = made_of
    if dataset.edit is None or not has_layouts(dataset) or fitted is None:
        return
    digests = weights_sha256, hashlib.sha256(fitted).hexdigest() if fitted else ""
    masks = read_masks_of(dataset, generator, segmenter.labels, digests)
    check_count(dataset, len(masks.files))


def warn_of_missing(layouts: Layouts, labels: Sequence[MaskClass]) -> list[str]:
    """A line if some classes are in no layout."""
    missing = missing_classes(layouts, [label.name for label in labels])
    if not missing:
        return []
    return [f"{_SECTION}: no layout has {', '.join(missing)}; samples will hardly show it"]


def _meaning(
    dataset: DatasetSpec, weights: LocalWeights, fitted: bytes
) -> tuple[Generator, tuple[MaskClass, ...]]:
    """The generator, and the classes of the masks."""
    device = torch.device("cpu")
    generator = load_generator(dataset.generator, weights.path, device=device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / SEGMENTER_PATH
        path.write_bytes(fitted)
        segmenter = load_segmenter(
            dataset.segmenter, path if fitted else None, generator.facts, device
        )
    if dataset.sampling is not None and dataset.sampling.method == "optimise":
        check_gradients(generator, segmenter)
        check_rows(generator, dataset.sampling.latents)
    if dataset.edit is not None:
        check_gradients(generator, segmenter, where=SECTION)
    return generator, tuple(segmenter.labels)


def _draw(
    spec: LayoutSpec, uri: str, labels: Sequence[MaskClass], side: int
) -> list[tuple[str, UInt8[np.ndarray, "h w"]]]:
    """Draw masks of a dataset, with their classes as ours."""
    found = open_dataset(uri)
    ids = {label.name: label.id for label in labels}
    table = np.full(256, IGNORE, dtype=np.uint8)
    unknown = {}
    for label in found.labels:
        if label.name in ids:
            table[label.id] = ids[label.name]
        else:
            unknown[label.id] = label.name
    count = min(spec.num_layouts, len(found))
    drawn = counter_rng("layouts", spec.seed, 0).choice(len(found), size=count, replace=False)
    masks = []
    for position in sorted(drawn.tolist()):
        sample = found[position]
        if sample.mask.shape != (side, side):
            height, width = sample.mask.shape
            raise JobError(
                f"{_SECTION}.dataset: masks of {uri} are {width} x {height} px, and the generator's "
                f"images {side} x {side}; draw layouts from a dataset of this size"
            )
        strange = [unknown[value] for value in np.unique(sample.mask) if value in unknown]
        if strange:
            raise JobError(
                f"{_SECTION}.dataset: masks of {uri} have class {strange[0]!r}; classes here are "
                f"{', '.join(ids)}: name them alike"
            )
        if (table[sample.mask] != IGNORE).any():
            masks.append((sample.key, table[sample.mask]))
    if not masks:
        raise JobError(f"{_SECTION}.dataset: masks of {uri} have no pixel of any class")
    return masks
