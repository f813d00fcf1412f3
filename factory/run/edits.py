"""Read the edited masks that a job names, and compare the dataset that they belong to with the job."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from factory.data import IGNORE, EditFigures, Sample, SampleEdit
from factory.dataset.reader import Dataset, open_dataset
from factory.dataset.samples import ReadSample
from factory.edit.changes import Change, make_change
from factory.edit.pairs import NOTHING_TO_EDIT, SECTION
from factory.edit.search import check_gradients
from factory.errors import JobError
from factory.fit.annotations.classes import make_classes, make_labels
from factory.fit.annotations.folder import check_folder, read_masks
from factory.generate import GENERATORS
from factory.generate.base import Generator
from factory.generate.latents import LatentSampler
from factory.identity import sample_key
from factory.manifest.labels import MaskClass
from factory.plan.identity import identity_of
from factory.segment.methods import find_method, import_part
from factory.spec import DatasetSpec

_NAME = re.compile(r"([0-9]{1,9})([._-](mask|label|labels|edited_mask))?", re.ASCII)
_MASKS = f"{SECTION}.masks"


def check_edit(dataset: DatasetSpec) -> None:
    """Require what edits need, as far as it can be told before anything is fitted.

    Raises:
        JobError: If generator or segmenter have no gradients, a class is unknown, or the folder of
            masks is missing or empty.
        StoreError: If the dataset that the masks belong to cannot be opened.
    """
    spec, kind = dataset.edit, dataset.segmenter.kind
    if spec is None:
        return
    # The classes of clusters have no names before they are fitted, those of painted pictures have.
    named = getattr(dataset.segmenter, "classes", None)
    if isinstance(named, list):
        make_change_of(dataset, make_labels(named))
    segmenter = import_part(kind, find_method(kind).segmenter)
    check_gradients(GENERATORS.load(dataset.generator.kind), segmenter, where=SECTION)
    if spec.masks is None or spec.dataset is None:
        return
    folder = Path(spec.masks)
    check_folder(folder)
    if not any(folder.iterdir()):
        raise JobError(f"{folder}: has no mask; put some in, such as PNG with class ids")
    open_dataset(spec.dataset)


def make_change_of(dataset: DatasetSpec, labels: Sequence[MaskClass]) -> Change | None:
    """The rule by which a job edits masks with the classes `labels`; None if it has masks instead.

    Raises:
        JobError: If a class of the rule is unknown.
    """
    if dataset.edit is None or dataset.edit.masks is not None:
        return None
    return make_change(dataset.edit, labels, seed=dataset.latents.seed)


def pretend_edit(sample: Sample, change: Change | None) -> Sample:
    """A sample as if it had been edited, without any search: its size, and whether it is rejected."""
    painted = sample.mask if change is None else change.paint(sample.mask, sample.index)
    has_change = change is None or bool(((painted != IGNORE) & (painted != sample.mask)).any())
    none = EditFigures(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    edit = SampleEdit(
        source=sample.index,
        image=sample.image,
        mask=sample.mask,
        class_px=sample.class_px,
        confidence=sample.confidence,
        figures=none,
        num_forwards=0,
        num_steps=0,
        rgba=sample.rgba,
    )
    reason = sample.rejection or ("" if has_change else NOTHING_TO_EDIT)
    return replace(sample, edit=edit, rejection=reason)


def read_edits(
    dataset: DatasetSpec,
    generator: Generator,
    labels: Sequence[MaskClass],
    digests: tuple[str, str],
) -> list[tuple[str, UInt8[np.ndarray, "h w"]]]:
    """Read the masks that `dataset.edit` names, with the keys of the samples that they edit.

    Args:
        dataset: The job's dataset.
        generator: Its generator.
        labels: The classes of its masks.
        digests: SHA-256 of the weights, and of the fitted segmenter; empty for a method without.

    Raises:
        JobError: If a mask cannot be used, or the dataset that they belong to is another one.
        StoreError: If that dataset cannot be read.
    """
    spec = dataset.edit
    assert spec is not None  # only such datasets have edited masks
    assert spec.masks is not None
    assert spec.dataset is not None
    source = open_dataset(spec.dataset)
    _check_source(source, dataset, digests)
    masks = read_masks(Path(spec.masks), make_classes(labels), generator.facts.resolution)
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    found: dict[str, str] = {}
    edits = []
    for name, mask in masks:
        key = _key_of(name)
        if key in found:
            raise JobError(
                f"{_MASKS}: {name} and {found[key]} are both of sample {key}; keep one of them"
            )
        found[key] = name
        if key not in source:
            raise JobError(f"{_MASKS}: {name} is of no sample of {spec.dataset}; name it by a key")
        _check_sample(source[key], mask, sampler)
        edits.append((key, mask))
    return edits


def check_count(dataset: DatasetSpec, num_masks: int) -> None:
    """Require a mask for each pair.

    Raises:
        JobError: If there are fewer.
    """
    if dataset.num_samples > num_masks:
        raise JobError(
            where="dataset.num_samples",
            found=f"found {dataset.num_samples}, but {_MASKS} has {num_masks}",
            allowed=f"up to {num_masks}: each mask gives one pair",
        )


def _key_of(name: str) -> str:
    matched = _NAME.fullmatch(name)
    if matched is None:
        raise JobError(
            f"{_MASKS}: {name!r} names no sample; name each mask by the key of its sample, such as "
            "000000017.png"
        )
    return sample_key(int(matched[1]))


def _check_sample(
    sample: ReadSample, painted: UInt8[np.ndarray, "h w"], sampler: LatentSampler
) -> None:
    if sample.mask.shape != painted.shape:
        height, width = sample.mask.shape
        raise JobError(
            f"{_MASKS}: sample {sample.key} has {width} x {height} px, and the generator's images "
            f"{painted.shape[1]} x {painted.shape[0]}; name the dataset that the masks belong to"
        )
    if ((painted == IGNORE) | (painted == sample.mask)).all():
        raise JobError(
            f"{_MASKS}: the mask of {sample.key} is as the sample's own; paint a change, or remove it"
        )
    label = int(sampler.draw([sample.facts.index]).class_labels[0])
    if label != sample.facts.class_label:
        raise JobError(
            f"{_MASKS}: sample {sample.key} was made for a coverage target, as class "
            f"{sample.facts.class_label} of the generator; only other samples can be edited by a job"
        )


def _check_source(source: Dataset, dataset: DatasetSpec, digests: tuple[str, str]) -> None:
    """Require that `source` has the generator, the latents and the segmenter of a job."""
    theirs = source.manifest.identity
    for section in ("sampling", "edit"):
        if theirs.get(section) is not None:
            raise JobError(
                f"{SECTION}.dataset: {source.uri} has `{section}`, whose latents cannot be drawn again; "
                "edit samples of a dataset without"
            )
    generator = identity_of(dataset.generator) | {"weights_sha256": digests[0]}
    differences = _differences("generator", generator, theirs.get("generator", {}))
    differences += _differences("latents", identity_of(dataset.latents), theirs.get("latents", {}))
    segmenter = {"kind": dataset.segmenter.kind, "sha256": digests[1]}
    known = {name: theirs.get("segmenter", {}).get(name) for name in segmenter}
    differences += _differences("segmenter", segmenter, known)
    if differences:
        raise JobError(
            f"{SECTION}.dataset: {source.uri} was made with another {differences[0]}; make the job's "
            "equal, or name the dataset that the masks belong to"
        )


def _differences(section: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [
        f"{section}.{name} ({theirs.get(name)!r}, here {ours.get(name)!r})"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
