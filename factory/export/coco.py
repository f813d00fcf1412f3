"""Datasets in other tools' formats: COCO instance annotations beside plain image files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from factory.dataset.state import find_labels, find_state
from factory.dataset.walk import FACTS_FILE, INSTANCES_FILE, explain_damage, walk_shard
from factory.errors import StoreError
from factory.pack.facts import InstanceFacts, read_facts
from factory.pack.image import (
    IMAGE_ENDING,
    decode_instances,
    decode_rgba,
    encode_image,
    flatten_on_white,
)
from factory.spec import EncodeSpec
from factory.store import Store


def export_coco(store: Store, folder: Path) -> tuple[int, int]:
    """Write `folder/images/KEY.*` and `folder/annotations.json`; the numbers of images and objects.

    Masks are uncompressed COCO run lengths, which pycocotools reads. Categories count from 1, as
    COCO's do; image ids are sample indices.

    Raises:
        StoreError: If the dataset has no instances.
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    state, meaning = find_state(store), find_labels(store)
    if not meaning.instance_classes:
        raise StoreError(
            f"{store.uri}: has no instances to export; set dataset.segmenter.instances and make the "
            "dataset anew in another output.uri"
        )
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in state.records:
        for sample in walk_shard(store, record):
            with explain_damage(store, record, sample.key):
                facts = read_facts(sample.file(FACTS_FILE), InstanceFacts)
                ids = decode_instances(sample.file(INSTANCES_FILE))
                ending = sample.image_ending
                data = _without_alpha(sample.image, ending)
            name = f"{sample.key}.{ending}"
            (folder / "images" / name).write_bytes(data)
            height, width = ids.shape
            images.append(
                {"id": int(sample.key), "file_name": name, "width": width, "height": height}
            )
            for number in range(1, len(facts.instance_px) + 1):
                annotations.append(_annotation(len(annotations) + 1, facts, number, ids == number))
    names = enumerate(meaning.instance_classes, start=1)
    document = {
        "info": {"description": state.plan.rounds[0].name},
        "licenses": [{"id": 1, "name": meaning.license, "url": ""}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name, "supercategory": ""} for i, name in names],
    }
    (folder / "annotations.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    return len(images), len(annotations)


def _without_alpha(image: bytes, ending: str) -> bytes:
    """The file of an image; one with alpha is laid on white: tools for COCO would drop the alpha."""
    rgba = decode_rgba(image)
    if rgba is None:
        return image
    image_format = next(name for name, known in IMAGE_ENDING.items() if ending.endswith(known))
    return encode_image(flatten_on_white(rgba), EncodeSpec(image=image_format))


def run_lengths(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """COCO's uncompressed run lengths: down the columns, zeros first."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [len(flat)]])).tolist()
    return [0, *runs] if flat[0] else runs


def _annotation(
    annotation_id: int, facts: InstanceFacts, number: int, mask: Bool[np.ndarray, "h w"]
) -> dict[str, Any]:
    left, top, right, bottom = facts.instance_box_xyxy[number - 1]
    return {
        "id": annotation_id,
        "image_id": facts.index,
        "category_id": facts.instance_class[number - 1] + 1,
        "segmentation": {"size": [facts.height, facts.width], "counts": run_lengths(mask)},
        "area": facts.instance_px[number - 1],
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        "score": facts.instance_score[number - 1],
    }
