"""Masks of CVAT: its XML ("CVAT for images"), and the colours of its exports of masks."""

import math
import re
from collections.abc import Iterator
from typing import NoReturn
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from factory.data import IGNORE
from factory.fit.annotations.canvas import Canvas, read_points
from factory.fit.annotations.classes import UNPAINTED, PaintedClasses
from factory.fit.annotations.json_files import check_size, stem_of

LABELMAP = "labelmap.txt"
"""The file with names and colours beside CVAT's and VOC's exported masks."""

_AREAS = ("polygon", "mask", "box")
_LINE = re.compile(r"([^:#]+):(\d{1,3}),(\d{1,3}),(\d{1,3}):.*", re.ASCII)


def read_cvat(
    data: bytes, classes: PaintedClasses, side: int
) -> Iterator[tuple[str, UInt8[np.ndarray, "h w"]]]:
    """The masks in an XML file of CVAT; pictures without areas have none.

    Raises:
        ValueError: If it is no whole file of CVAT, or its masks cannot be used.
    """
    root = _parse(data)
    if root.find("track") is not None:
        raise ValueError("holds tracks of a video; export `CVAT for images`, or masks")
    for image in root.iter("image"):
        areas = [part for part in image if part.tag in _AREAS]
        if other := next((p.tag for p in image if p.tag not in (*_AREAS, "tag")), ""):
            raise ValueError(f"has a shape {other!r}; polygon, mask and box are areas")
        if not areas:
            continue
        name = stem_of(image.get("name"))
        check_size(_number(image.get("width")), _number(image.get("height")), side, name)
        canvas = Canvas(side)
        for area in sorted(areas, key=lambda part: _number(part.get("z_order", "0"))):
            canvas.paint(_pixels(canvas, area), classes.id_of(area.get("label")))
        yield name, canvas.mask


def _parse(data: bytes) -> ET.Element:
    # Entities can stand for gigabytes or for other files. Nothing that CVAT writes declares any, so a
    # document type is refused, in the one encoding in which it can be looked for.
    try:
        text = data.decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("declares a document type, as no file of CVAT does")
        root = ET.fromstring(text)  # noqa: S314 - looked through above
    except (UnicodeDecodeError, ET.ParseError) as error:
        raise ValueError("is no whole XML file; save it again, or remove it") from error
    if root.tag != "annotations":
        raise ValueError("is no XML of CVAT; export `CVAT for images`, or masks")
    return root


def _pixels(canvas: Canvas, area: ET.Element) -> Bool[np.ndarray, "h w"]:
    if area.tag == "polygon":
        pairs = [point.split(",") for point in (area.get("points") or "").split(";")]
        return canvas.polygon(
            read_points([[_decimal(number) for number in pair] for pair in pairs])
        )
    if area.tag == "box":
        left, top, right, low = (_decimal(area.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        corners = read_points([[left, top], [right, top], [right, low], [left, low]])
        return canvas.polygon(_turned(corners, _decimal(area.get("rotation", "0"))))
    counts = [_number(count) for count in (area.get("rle") or "").split(",")]
    left, top, width, height = (_number(area.get(k)) for k in ("left", "top", "width", "height"))
    return canvas.box_runs(counts, (left, top, width, height))


def _turned(corners: Float64[np.ndarray, "p 2"], degrees: float) -> Float64[np.ndarray, "p 2"]:
    """A box turned clockwise about its centre."""
    if not math.isfinite(degrees):
        raise ValueError(f"has a box turned by {degrees}, which is no angle")
    angle = math.radians(degrees)
    centre = corners.mean(axis=0)
    x, y = (corners - centre).T
    turned = [x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)]
    return centre + np.stack(turned, axis=1) if degrees else corners


def read_labelmap(data: bytes, classes: PaintedClasses) -> PaintedClasses:
    """The classes in the colours of an exported `labelmap.txt`; names of no class are left out.

    Black stays what is not painted, whatever name it has there: CVAT writes it where nothing is.

    Raises:
        ValueError: If it is no label map.
    """
    colours: dict[tuple[int, int, int], int] = {UNPAINTED: IGNORE}
    for line in data.decode("utf-8", "replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        matched = _LINE.fullmatch(line.strip())
        if matched is None:
            raise ValueError("is no label map, whose lines are name:red,green,blue:parts:actions")
        name, red, green, blue = matched.groups()
        if name in classes.ids:
            colours.setdefault((int(red), int(green), int(blue)), classes.ids[name])
    return PaintedClasses(classes.ids, colours, classes.num_classes)


def _number(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        _refuse(text)


def _decimal(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        _refuse(text)


def _refuse(text: str | None) -> NoReturn:
    raise ValueError(f"has {(text or '')[:40]!r} in place of a number") from None
