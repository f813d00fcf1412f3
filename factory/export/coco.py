"""COCO instance annotations beside plain image files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt16

from factory.dataset.samples import decode_sample
from factory.dataset.walk import StoredSample, explain_damage, walk_shard
from factory.errors import JobError
from factory.export.examples import Exported, without_alpha
from factory.pack.facts import InstanceFacts
from factory.pack.instances import check_instances
from factory.store.single_file import staged_file


def export_coco(source: Exported, folder: Path) -> tuple[int, int]:
    """Write `folder/images/KEY.*` and `folder/annotations.json`; the numbers of images and objects.

    Masks are uncompressed COCO run lengths, which pycocotools reads. Categories count from 1, as
    COCO's do; image ids are sample indices.

    Raises:
        JobError: If the dataset has no instances.
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    if not source.manifest.meaning.instance_classes:
        raise JobError(
            where=source.store.uri,
            found="has masks of classes, and `coco` is for single objects",
            remedy="export its classes with `coco-semantic`, `coco-polygons` or `coco-panoptic`; "
            "objects come from `segmenter.kind: style_mixing` with `instances`, in another dataset",
        )
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with staged_file(folder / "annotations.json") as file:
        return _write(source, folder / "images", file)


def _write(source: Exported, folder: Path, file: BinaryIO) -> tuple[int, int]:
    """Write images and annotations; the latter as they come: all masks may not fit in memory."""
    meaning = source.manifest.meaning
    names = enumerate(meaning.instance_classes, start=1)
    head = {
        "info": {"description": source.manifest.name},
        "licenses": [{"id": 1, "name": meaning.license, "url": ""}],
        "categories": [{"id": i, "name": name, "supercategory": ""} for i, name in names],
    }
    file.write(json.dumps(head).encode().removesuffix(b"}") + b', "annotations": [')
    images: list[dict[str, Any]] = []
    num_objects = 0
    for record in source.records():
        for stored in walk_shard(source.store, record, left_out=source.left_out.of(record)):
            with explain_damage(source.store, record, stored.key):
                ids, facts = _decode(stored, record.dataset_id, len(meaning.instance_classes))
                data = without_alpha(stored)
            name = f"{stored.key}.{stored.image_ending}"
            (folder / name).write_bytes(data)
            images.append(
                {"id": facts.index, "file_name": name, "width": facts.width, "height": facts.height}
            )
            for number, runs in enumerate(run_lengths(ids)):
                num_objects += 1
                line = json.dumps(_annotation(num_objects, facts, number, runs)).encode()
                file.write(b",\n" + line if num_objects > 1 else line)
    file.write(b'], "images": ' + json.dumps(images).encode() + b"}\n")
    return len(images), num_objects


def _decode(
    stored: StoredSample, dataset_id: str, num_classes: int
) -> tuple[UInt16[np.ndarray, "h w"], InstanceFacts]:
    """The instances of a sample, and its facts, which agree with each other.

    Raises:
        ValueError: If they do not, or are not there.
    """
    sample = decode_sample(stored, dataset_id)
    if sample.instances is None or not isinstance(sample.facts, InstanceFacts):
        raise ValueError("it has no instances")
    for problem in check_instances(sample.instances, sample.facts, num_classes):
        raise ValueError(problem)
    return sample.instances, sample.facts


def run_lengths(ids: UInt16[np.ndarray, "h w"]) -> Iterator[list[int]]:
    """COCO's uncompressed run lengths of each instance, from id 1: down the columns, zeros first.

    The image is read once for all of them; an instance costs what its own runs do.
    """
    flat = ids.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0] ^ 1))
    ends = np.append(starts[1:], len(flat))
    order = np.argsort(flat[starts], kind="stable")
    owners = flat[starts[order]]
    borders = np.searchsorted(owners, np.arange(1, int(flat.max()) + 2))
    for first, last in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        runs = order[first:last]
        edges = np.stack([starts[runs], ends[runs]], axis=1).ravel()
        counts: list[int] = np.diff(edges, prepend=0).tolist()
        rest = len(flat) - int(edges[-1])
        yield [*counts, rest] if rest else counts


def _annotation(
    annotation_id: int, facts: InstanceFacts, number: int, runs: list[int]
) -> dict[str, Any]:
    left, top, right, bottom = facts.instance_box_xyxy[number]
    return {
        "id": annotation_id,
        "image_id": facts.index,
        "category_id": facts.instance_class[number] + 1,
        "segmentation": {"size": [facts.height, facts.width], "counts": runs},
        "area": facts.instance_px[number],
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        "score": facts.instance_score[number],
    }
