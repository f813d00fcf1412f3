"""Masks as polygons and objects: for YOLO and Label Studio."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from factory.export.examples import Example, Exported, write_file, write_lines
from factory.export.polygons import Loop, bridged, outline
from factory.manifest.paths import TRAIN
from factory.spec.yaml_text import dump_yaml


def export_yolo(source: Exported, folder: Path) -> int:
    """Write `images/SPLIT/`, `labels/SPLIT/KEY.txt` and `data.yaml` for YOLO's segmentation.

    A line per 4-connected component of a class: the class, then corners as shares of width and height.
    The ground has no lines; the other classes count from 0, in their order.

    Returns:
        The number of images.

    Raises:
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    count = 0
    found = set()
    drawn = _drawn_classes(source)
    for example in source:
        found.add(example.split)
        height, width = example.mask.shape
        lines = []
        for class_id, loop in _regions(example, drawn):
            corners = [f"{x / width:.6f} {y / height:.6f}" for x, y in loop]
            lines.append(f"{drawn.index(class_id)} {' '.join(corners)}")
        write_file(folder, f"images/{example.split}/{example.name}", example.image)
        write_lines(folder, f"labels/{example.split}/{example.key}.txt", lines)
        count += 1
    document: dict[str, Any] = {s: f"images/{s}" for s in source.splits if s in found}
    if "val" not in document:  # YOLO demands one
        document["val"] = document.get("test", document.get(TRAIN, f"images/{source.splits[0]}"))
    document["names"] = dict(enumerate(source.class_names[class_id] for class_id in drawn))
    # Without `path` YOLO looks beside the file; "." would be the folder that it is started in.
    write_file(folder, "data.yaml", dump_yaml(document).encode())
    return count


def export_label_studio(source: Exported, folder: Path) -> int:
    """Write `images/SPLIT/`, `tasks.json` with polygons, and `config.xml` for Label Studio.

    Start Label Studio with `LOCAL_FILES_SERVING_ENABLED=true` and the folder as document root.

    Returns:
        The number of images.

    Raises:
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    tasks = []
    names = source.class_names
    drawn = _drawn_classes(source)
    for example in source:
        path = f"images/{example.split}/{example.name}"
        write_file(folder, path, example.image)
        result = [
            _polygon(example, number, names[class_id], loop)
            for number, (class_id, loop) in enumerate(_regions(example, drawn))
        ]
        tasks.append(
            {
                "data": {"image": f"/data/local-files/?d={path}", "key": example.key},
                "predictions": [
                    {
                        "model_version": source.manifest.dataset_id,
                        "score": example.facts.confidence,
                        "result": result,
                    }
                ],
            }
        )
    labels = "".join(
        f'<Label value={quoteattr(label.name)} background="#{bytes(label.colour).hex()}"/>'
        for label in (source.manifest.meaning.labels[class_id] for class_id in drawn)
    )
    config = (
        f'<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image">{labels}'
        "</PolygonLabels></View>\n"
    )
    write_file(folder, "config.xml", config.encode())
    write_file(folder, "tasks.json", (json.dumps(tasks) + "\n").encode())
    return len(tasks)


def _drawn_classes(source: Exported) -> list[int]:
    """All classes but the ground."""
    return [label.id for label in source.manifest.meaning.labels if label.id != source.ground]


def _regions(example: Example, drawn: Sequence[int]) -> list[tuple[int, Loop]]:
    """The components of each class that is drawn, as one loop each."""
    found = []
    for class_id in np.unique(example.mask).tolist():
        if class_id not in drawn:
            continue
        found += [(class_id, bridged(loops)) for loops in outline(example.mask == class_id)]
    return found


def _polygon(example: Example, number: int, name: str, loop: Loop) -> dict[str, Any]:
    height, width = example.mask.shape
    return {
        "id": f"{example.key}-{number}",
        "type": "polygonlabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "points": [[100 * x / width, 100 * y / height] for x, y in loop],
            "polygonlabels": [name],
            "closed": True,
        },
    }
