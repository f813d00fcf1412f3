"""Decode a shard and validate every sample against its task.

Most damage to a tar is silent: five of six kinds that were tried pass every reader unnoticed. Here
every sample is decoded and every count is recomputed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from factory.data import IGNORE, Sample, ShardTask
from factory.errors import Problem
from factory.identity import sample_key
from factory.manifest.measure import UNKNOWN, Measures, measure_samples
from factory.manifest.paths import tar_path
from factory.pack.facts import EditFacts, InstanceFacts, SampleFacts, read_facts
from factory.pack.image import decode_image, decode_instances, decode_mask
from factory.pack.instances import check_instances
from factory.pack.tar import encode_end, encode_files, read_members

_ROUNDING = 0.5 / 255 + 1e-5
_IMAGES = ("image.", "edited.")


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected contents of every sample of a dataset."""

    num_classes: int
    """Number of mask classes; 255 is not one of them."""
    endings: list[str]
    """Endings of its files, in order."""
    num_instance_classes: int
    """Number of classes of instances; 0 = samples have none."""
    confidence_is_iou: bool = False
    """Whether a mask's confidence is an expected IoU, which the mean over its classes is a limit of, and
    not the mean over all its pixels."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a tar, and the problems found in it."""

    rows: list[SampleFacts]
    """Facts of the samples, in order, as far as they could be read."""
    measures: list[Measures]
    """Measures recomputed from the decoded files; for lossy images only approximately the original."""
    num_members: int
    """Number of files."""
    repacked_sha256: str
    """SHA-256 of a tar that we would write with these files; a difference shows damage between them."""
    problems: list[Problem]
    """What is wrong with it."""
    repeated: list[str]
    """Keys of samples of which a file is there more than once; readers take the first or the last."""


def read_contents(path: Path, task: ShardTask, expected: Expected) -> Contents:
    """Read and validate the whole tar at `path`, the result of `task`, one sample at a time."""
    rows: list[SampleFacts] = []
    measures: list[Measures] = []
    problems: list[Problem] = []
    digest = hashlib.sha256()
    num_members = size_bytes = 0
    previous = ""
    repeated: list[str] = []
    try:
        for key, group in groupby(read_members(path), key=lambda file: file[0].partition(".")[0]):
            files = list(group)
            packed = encode_files(files)
            digest.update(packed)
            size_bytes += len(packed)
            num_members += len(files)
            if key <= previous:
                problems.append(_problem(task, f"after {previous}; keys ascend", key))
            previous = key
            repeated += [key] if len(dict(files)) != len(files) else []
            found = _check_sample(key, dict(files), task, expected, rows, measures)
            problems += [_problem(task, text, key) for text in found]
    except ValueError as error:
        problems.append(_problem(task, str(error)))
    digest.update(encode_end(size_bytes))
    return Contents(rows, measures, num_members, digest.hexdigest(), problems, repeated)


def _problem(task: ShardTask, found: str, sample: str = "") -> Problem:
    return Problem(tar_path(task.name, task.split), "contents", found, sample=sample)


def _check_sample(
    key: str,
    files: dict[str, bytes],
    task: ShardTask,
    expected: Expected,
    rows: list[SampleFacts],
    measures: list[Measures],
) -> Iterator[str]:
    endings = [name.partition(".")[2] for name in files]
    if endings != expected.endings:
        yield f"holds {', '.join(endings)}; expected {', '.join(expected.endings)}, in this order"
        return
    try:
        found = _decode(dict(zip(endings, files.values(), strict=True)))
    except ValueError as error:
        yield str(error)
        return
    rows.append(found.facts)
    measures.append(_measure(found.facts, found.image, found.mask))
    yield from _check_facts(key, found.facts, task)
    yield from _check_files(found, expected)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The files of a sample; None stands for those that it does not have."""

    facts: SampleFacts
    image: np.ndarray
    mask: np.ndarray
    by_px: np.ndarray | None
    alpha: np.ndarray | None
    ids: np.ndarray | None
    edited: np.ndarray | None
    edited_mask: np.ndarray | None


def _decode(data: dict[str, bytes]) -> _Decoded:
    kind = InstanceFacts if "instances.png" in data else SampleFacts
    images = [decode_image(file) for name, file in data.items() if name.startswith(_IMAGES)]
    masks = {
        name: decode_mask(data[f"{name}.png"]) if f"{name}.png" in data else None
        for name in ("confidence", "alpha", "edited_mask")
    }
    return _Decoded(
        facts=read_facts(data["json"], kind),
        image=images[0],
        mask=decode_mask(data["mask.png"]),
        by_px=masks["confidence"],
        alpha=masks["alpha"],
        ids=decode_instances(data["instances.png"]) if "instances.png" in data else None,
        edited=images[1] if len(images) > 1 else None,
        edited_mask=masks["edited_mask"],
    )


def _check_files(found: _Decoded, expected: Expected) -> Iterator[str]:
    facts, mask = found.facts, found.mask
    yield from _check_mask(found.image, mask, facts, expected.num_classes)
    if found.by_px is not None:
        yield from _check_confidence(found.by_px, mask, facts, is_iou=expected.confidence_is_iou)
    if found.alpha is not None and found.alpha.shape != mask.shape:
        yield f"alpha {found.alpha.shape} and mask {mask.shape} differ in size"
    if found.ids is not None and isinstance(facts, InstanceFacts):
        yield from _check_instances(found.ids, mask, facts, expected.num_instance_classes)
    if found.edited is not None and found.edited_mask is not None:
        yield from _check_edited(found.edited, found.edited_mask, facts, expected.num_classes)


def _measure(facts: SampleFacts, image: np.ndarray, mask: np.ndarray) -> Measures:
    if mask.shape != image.shape[:2]:
        return UNKNOWN  # reported as a problem elsewhere
    label, px = facts.class_label, tuple(facts.class_px)
    return measure_samples([Sample(facts.index, image, mask, label, facts.confidence, px)])[0]


def _check_facts(key: str, facts: SampleFacts, task: ShardTask) -> Iterator[str]:
    if facts.dataset_id != task.dataset_id:
        yield f"of dataset {facts.dataset_id}, this is {task.dataset_id}"
    if key != facts.key or key != sample_key(facts.index):
        yield f"its facts name it {facts.key} with index {facts.index}"
    if not 0 <= facts.index - task.first_index < task.num_indices:
        yield f"index {facts.index} lies outside its shard's range"


def _check_mask(
    image: np.ndarray, mask: np.ndarray, facts: SampleFacts, num_classes: int
) -> Iterator[str]:
    if image.shape[:2] != mask.shape:
        yield f"image {image.shape[:2]} and mask {mask.shape} differ in size"
    elif mask.shape != (facts.height, facts.width):
        yield f"mask {mask.shape} has another size than its facts say"
    yield from _check_classes("mask", mask, facts.class_px, num_classes)


def _check_classes(
    name: str, mask: np.ndarray, class_px: list[int], num_classes: int
) -> Iterator[str]:
    counts = np.bincount(mask.ravel(), minlength=256)
    if counts[num_classes:IGNORE].any():
        largest = int(np.flatnonzero(counts[:IGNORE])[-1])
        yield f"{name} holds label {largest}; allowed: 0 to {num_classes - 1}, and 255"
    elif counts[:num_classes].tolist() != class_px:
        yield f"its facts count other pixels per class than its {name} holds"


def _check_edited(
    image: np.ndarray, mask: np.ndarray, facts: SampleFacts, num_classes: int
) -> Iterator[str]:
    if not isinstance(facts, EditFacts):
        yield "its facts say nothing of its edit"
        return
    if image.shape[:2] != mask.shape or mask.shape != (facts.height, facts.width):
        sizes = f"edited image {image.shape[:2]} and mask {mask.shape}"
        yield f"{sizes} have other sizes than its facts say"
    yield from _check_classes("edited mask", mask, facts.edited_class_px, num_classes)
    counted = sum(facts.edited_class_px) + facts.edited_ignore_px
    if counted != mask.size:
        yield f"its facts count {counted} pixels of its edited mask, which has {mask.size}"


def _check_confidence(
    by_px: np.ndarray, mask: np.ndarray, facts: SampleFacts, *, is_iou: bool
) -> Iterator[str]:
    if by_px.shape != mask.shape:
        yield f"confidence {by_px.shape} and mask {mask.shape} differ in size"
        return
    present = np.unique(mask[mask != IGNORE])
    parts = [mask == label for label in present] if is_iou else [mask != IGNORE]
    means = [float(by_px[part].mean()) for part in parts if part.any()]
    mean = sum(means) / len(means) / 255 if means else 0.0
    excess = facts.confidence - mean
    if (excess if is_iou else abs(excess)) > _ROUNDING:
        yield f"its facts say confidence {facts.confidence}, its pixels {mean:.6f}"


def _check_instances(
    ids: np.ndarray, mask: np.ndarray, facts: InstanceFacts, num_classes: int
) -> Iterator[str]:
    if ids.shape != mask.shape:
        yield f"mask {mask.shape} and instances {ids.shape} differ in size"
        return
    yield from check_instances(ids, facts, num_classes)
