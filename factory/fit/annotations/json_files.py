"""Masks in the JSON of labelling tools: LabelMe, COCO and Label Studio."""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from jaxtyping import Bool, UInt8

from factory.fit.annotations.brush import decode_brush
from factory.fit.annotations.canvas import Canvas, decode_coco_text, read_points
from factory.fit.annotations.classes import PaintedClasses

Masks = Iterator[tuple[str, UInt8[np.ndarray, "h w"]]]
"""The stem of a picture's file name, and its mask."""

_MOST_SHOWN = 60

_WITHOUT_PIXELS = ("choices", "number", "rating", "taxonomy", "textarea")
"""What Label Studio asks about a picture as a whole."""


def read_json(data: bytes, stem: str, classes: PaintedClasses, side: int) -> Masks:
    """The masks in a JSON file whose name without ending is `stem`.

    Shapes are drawn in the order of the file, later ones over earlier ones; what none covers is not
    painted.

    Raises:
        ValueError: If it is no whole file of a known tool, or its masks cannot be used.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("is no whole JSON file; save it again, or remove it") from error
    if isinstance(document, dict) and isinstance(document.get("shapes"), list):
        yield from _labelme(document, stem, classes, side)
    elif isinstance(document, dict) and isinstance(document.get("annotations"), list):
        yield from _coco(document, classes, side)
    elif isinstance(document, list) and all(isinstance(one, dict) for one in document):
        yield from _label_studio(document, classes, side)
    else:
        raise ValueError(
            "is JSON of no known tool; LabelMe, COCO and Label Studio (JSON, not JSON-MIN) are read"
        )


def stem_of(name: object) -> str:
    """The name of a picture without folders and ending, from either kind of path.

    Raises:
        ValueError: If it is no file name.
    """
    if not isinstance(name, str) or not name:
        raise ValueError("names no picture")
    return PurePosixPath(PureWindowsPath(name.partition("?")[0]).as_posix()).stem


def check_size(width: object, height: object, side: int, name: str) -> None:
    """Require that a tool saw the picture at its own size.

    Raises:
        ValueError: If not.
    """
    if (width, height) != (side, side):
        raise ValueError(
            f"says that {name} is {_shown(width)} x {_shown(height)} px; it is {side} x {side}: paint "
            "on the picture as it is"
        )


def _labelme(document: dict[str, Any], stem: str, classes: PaintedClasses, side: int) -> Masks:
    # The picture's name in the file may be that of another folder's copy: its own name decides, as
    # in LabelMe, unless it says something else.
    name = stem_of(document.get("imagePath") or stem)
    check_size(document.get("imageWidth"), document.get("imageHeight"), side, name)
    canvas = Canvas(side)
    for shape in _dicts(document["shapes"], "shapes"):
        kind, class_id = shape.get("shape_type", "polygon"), classes.id_of(shape.get("label"))
        canvas.paint(_labelme_pixels(canvas, kind, shape), class_id)
    yield name, canvas.mask


def _labelme_pixels(
    canvas: Canvas, kind: object, shape: Mapping[str, Any]
) -> Bool[np.ndarray, "h w"]:
    points = shape.get("points")
    if kind == "polygon":
        return canvas.polygon(read_points(points))
    if kind == "rectangle" and isinstance(points, list) and len(points) == 4:
        return canvas.polygon(read_points(points))  # of programs that turn rectangles
    if kind == "rectangle" and isinstance(points, list) and len(points) == 2:
        (left, top), (right, low) = read_points([*points, points[0]])[:2]
        corners = [[left, top], [right, top], [right, low], [left, low]]
        return canvas.polygon(np.array(corners))
    if kind == "circle" and isinstance(points, list) and len(points) == 2:
        centre, edge = read_points([*points, points[0]])[:2]
        rows, columns = np.indices(canvas.mask.shape) + 0.5
        far = np.hypot(columns - centre[0], rows - centre[1])
        inside: np.ndarray = far <= np.hypot(*(edge - centre))
        return inside
    raise ValueError(f"has a shape {_shown(kind)}; polygon, rectangle and circle are areas")


def _coco(document: dict[str, Any], classes: PaintedClasses, side: int) -> Masks:
    annotations = _dicts(document["annotations"], "annotations")
    used = {_key(one.get("category_id")) for one in annotations}
    names = {
        _key(one.get("id")): classes.id_of(one.get("name"))
        for one in _dicts(document.get("categories"), "categories")
        if _key(one.get("id")) in used  # tools list more of them than are painted
    }
    pictures: dict[object, str] = {}
    for one in _dicts(document.get("images"), "images"):
        key, name = _key(one.get("id")), stem_of(one.get("file_name"))
        check_size(one.get("width"), one.get("height"), side, name)
        if key in pictures:
            raise ValueError(f"lists two pictures with id {_shown(key)}")
        pictures[key] = name
    painted: dict[object, list[dict[str, Any]]] = {}
    for one in annotations:
        image, category = _key(one.get("image_id")), _key(one.get("category_id"))
        if image not in pictures or category not in names:
            raise ValueError(
                f"has an annotation of picture {_shown(image)} and category {_shown(category)}, which "
                "it does not list"
            )
        painted.setdefault(image, []).append(one)
    for image, shapes in painted.items():  # one at a time: a project lists more than are painted
        canvas = Canvas(side)
        for one in shapes:
            class_id = names[_key(one.get("category_id"))]
            canvas.paint(_coco_pixels(canvas, one.get("segmentation")), class_id)
        yield pictures[image], canvas.mask


def _coco_pixels(canvas: Canvas, segmentation: object) -> Bool[np.ndarray, "h w"]:
    if isinstance(segmentation, list) and segmentation:
        return canvas.polygons(segmentation)
    if isinstance(segmentation, dict):
        side = len(canvas.mask)
        if segmentation.get("size") != [side, side]:
            raise ValueError(
                f"has run lengths of size {_shown(segmentation.get('size'))}; its picture is [{side}, "
                f"{side}]"
            )
        counts = segmentation.get("counts")
        if isinstance(counts, str):
            return canvas.column_runs(decode_coco_text(counts, side * side))
        if isinstance(counts, list):
            return canvas.column_runs(counts)
    raise ValueError("has an annotation that is neither outlines nor run lengths")


def _label_studio(tasks: list[dict[str, Any]], classes: PaintedClasses, side: int) -> Masks:
    for task in tasks:
        data, annotations = task.get("data"), task.get("annotations")
        if not isinstance(data, dict) or not isinstance(annotations, list):
            raise ValueError("has a task without `data` and `annotations`; export it as JSON")
        done = [one for one in _dicts(annotations, "annotations") if not one.get("was_cancelled")]
        if len(done) > 1:
            raise ValueError(f"has {len(done)} annotations of a picture; keep one of them")
        if not done or not done[0].get("result"):
            continue
        image = next((v for v in data.values() if isinstance(v, str) and ".png" in v.lower()), None)
        # Uploaded files are given a prefix of 8 hex digits.
        name = stem_of(_local_path(image)).rpartition("-")[2]
        canvas = Canvas(side)
        for result in _dicts(done[0]["result"], "result"):
            if result.get("type") in _WITHOUT_PIXELS:
                continue
            check_size(result.get("original_width"), result.get("original_height"), side, name)
            canvas.paint(*_label_studio_shape(canvas, result, classes))
        yield name, canvas.mask


def _local_path(address: str | None) -> str | None:
    """The path of a picture: files of a local storage stand behind `?d=`."""
    query = (address or "").partition("?")[2]
    return parse_qs(query).get("d", [address])[0]


def _label_studio_shape(
    canvas: Canvas, result: Mapping[str, Any], classes: PaintedClasses
) -> tuple[Bool[np.ndarray, "h w"], int]:
    value, kind = result.get("value"), result.get("type")
    names = value.get(kind) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(names, list) or len(names) != 1:
        raise ValueError(f"has a shape {_shown(kind)} without one label")
    if result.get("image_rotation"):
        raise ValueError(
            "has shapes of a picture that was turned; turn it back, and draw them anew"
        )
    class_id, side = classes.id_of(names[0]), len(canvas.mask)
    if kind == "polygonlabels":
        return canvas.polygon(read_points(value.get("points"), side / 100)), class_id
    if kind == "brushlabels":
        return decode_brush(value.get("rle"), side), class_id
    raise ValueError(f"has a shape {_shown(kind)}; polygonlabels and brushlabels are areas")


def _dicts(value: object, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"has no list `{name}`")
    return value


def _key(value: object) -> object:
    """A value as a key: ids are numbers or text, and lists cannot be keys."""
    return value if isinstance(value, (int, str)) else None


def _shown(value: object) -> str:
    return repr(value)[:_MOST_SHOWN]
