"""COCO's formats for classes of pixels: an annotation per class and image, and panoptic images."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int64, UInt8

from factory.data import IGNORE
from factory.export.coco import run_lengths
from factory.export.examples import Example, Exported, write_file
from factory.export.polygons import outline
from factory.pack.facts import InstanceFacts
from factory.pack.image import encode_image
from factory.spec import EncodeSpec
from factory.store.single_file import staged_file

ANNOTATIONS = "annotations"
"""The folder of the files of annotations."""


class AnnotationFile:
    """A COCO file that is written as it grows: all masks of a dataset may not fit in memory."""

    def __init__(self, file: BinaryIO, head: dict[str, Any]) -> None:
        """Begin the file with the sections of `head`."""
        self._file = file
        self._images: list[dict[str, Any]] = []
        self._num = 0
        file.write(json.dumps(head).encode().removesuffix(b"}") + b', "annotations": [')

    @property
    def num_annotations(self) -> int:
        """Annotations so far."""
        return self._num

    def add_image(self, example: Example) -> None:
        """Add an image."""
        facts = example.facts
        self._images.append(
            {
                "id": facts.index,
                "file_name": example.name,
                "width": facts.width,
                "height": facts.height,
            }
        )

    def add(self, annotation: dict[str, Any]) -> None:
        """Add an annotation."""
        line = json.dumps(annotation).encode()
        self._file.write(b",\n" + line if self._num else line)
        self._num += 1

    def close(self) -> None:
        """Write the images and the end."""
        self._file.write(b'], "images": ' + json.dumps(self._images).encode() + b"}\n")


def export_coco_semantic(source: Exported, folder: Path) -> int:
    """As `export_coco_polygons`, with masks as uncompressed run lengths, which are exact."""
    return _export(source, folder, polygons=False)


def export_coco_polygons(source: Exported, folder: Path) -> int:
    """Write `images/SPLIT/` and `annotations/SPLIT.json` with an annotation per class and image.

    COCO's polygons know no holes: parts of other classes inside of a class lie in both. Categories are
    class ids + 1, as COCO counts from 1.

    Returns:
        The number of images.

    Raises:
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    return _export(source, folder, polygons=True)


def _export(source: Exported, folder: Path, *, polygons: bool) -> int:
    count = 0
    with ExitStack() as stack:
        files = _open_files(stack, source, folder)
        for example in source:
            write_file(folder, f"images/{example.split}/{example.name}", example.image)
            file = files[example.split]
            file.add_image(example)
            for annotation in _annotations(example, polygons=polygons):
                file.add({"id": file.num_annotations + 1, **annotation})
            count += 1
        for file in files.values():
            file.close()
    return count


def _open_files(
    stack: ExitStack, source: Exported, folder: Path, things: int = 0
) -> dict[str, AnnotationFile]:
    """A file for each split; the first `things` categories are instance classes."""
    meaning = source.manifest.meaning
    categories = [
        {"id": place + 1, "name": name, "supercategory": "", "isthing": int(place < things)}
        for place, name in enumerate([*meaning.instance_classes[:things], *source.class_names])
    ]
    head = {
        "info": {"description": source.manifest.name},
        "licenses": [{"id": 1, "name": meaning.license, "url": ""}],
        "categories": categories,
    }
    (folder / ANNOTATIONS).mkdir(parents=True, exist_ok=True)
    return {
        split: AnnotationFile(
            stack.enter_context(staged_file(folder / f"{ANNOTATIONS}/{split}.json")), head
        )
        for split in source.splits
    }


def _annotations(example: Example, *, polygons: bool) -> Iterator[dict[str, Any]]:
    height, width = example.mask.shape
    classes = [c for c in np.unique(example.mask).tolist() if c != IGNORE]
    places = np.zeros(256, dtype=np.uint16)
    places[classes] = np.arange(1, len(classes) + 1)
    for class_id, runs in zip(classes, run_lengths(places[example.mask]), strict=True):
        inside = example.mask == class_id
        segmentation: Any = {"size": [height, width], "counts": runs}
        if polygons:
            segmentation = [
                [float(value) for corner in loops[0] for value in corner]
                for loops in outline(inside)
            ]
        yield {
            "image_id": example.facts.index,
            "category_id": class_id + 1,
            "segmentation": segmentation,
            "area": int(inside.sum()),
            "bbox": _box(inside),
            "iscrowd": 0,
        }


def _box(inside: np.ndarray) -> list[int]:
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


def export_coco_panoptic(source: Exported, folder: Path) -> int:
    """Write `images/SPLIT/`, `panoptic/SPLIT/KEY.png` and `annotations/SPLIT.json`, COCO's panoptic.

    A segment's id is red + 256 green + 65536 blue; 0 = no segment. Instances come before classes, whose
    other pixels are one segment each.

    Returns:
        The number of images.

    Raises:
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    things = len(source.manifest.meaning.instance_classes)
    count = 0
    with ExitStack() as stack:
        files = _open_files(stack, source, folder, things)
        for example in source:
            ids, categories = _segments(example, things)
            write_file(folder, f"images/{example.split}/{example.name}", example.image)
            data = encode_image(_as_colours(ids), EncodeSpec())
            write_file(folder, f"panoptic/{example.split}/{example.key}.png", data)
            files[example.split].add_image(example)
            files[example.split].add(
                {
                    "image_id": example.facts.index,
                    "file_name": f"{example.key}.png",
                    "segments_info": [
                        {
                            "id": segment,
                            "category_id": category,
                            "area": int((ids == segment).sum()),
                            "bbox": _box(ids == segment),
                            "iscrowd": 0,
                        }
                        for segment, category in categories.items()
                    ],
                }
            )
            count += 1
        for file in files.values():
            file.close()
    return count


def _segments(example: Example, things: int) -> tuple[Int64[np.ndarray, "h w"], dict[int, int]]:
    """The segment of each pixel, and the category of each segment."""
    ids = np.where(example.mask == IGNORE, 0, example.mask.astype(np.int64) + 1)
    categories = {
        class_id + 1: things + class_id + 1
        for class_id in np.unique(example.mask).tolist()
        if class_id != IGNORE
    }
    if example.instances is not None and isinstance(example.facts, InstanceFacts):
        first = 256
        has = example.instances > 0
        ids = np.where(has, first + example.instances.astype(np.int64), ids)
        for number, class_id in enumerate(example.facts.instance_class, start=1):
            categories[first + number] = class_id + 1
    there = set(np.unique(ids).tolist())
    return ids, {segment: kind for segment, kind in categories.items() if segment in there}


def _as_colours(ids: Int64[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
