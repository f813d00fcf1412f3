"""Statistics of classes, and single samples at full size, as plain JSON for the page."""

import base64
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from factory.label.closer import CloserLook
from factory.label.material import LabelMaterial
from factory.label.survey import ClassFigures
from factory.pack.image import encode_image
from factory.segment.tree.doubts import doubts_of_class
from factory.segment.tree.mixture import mask_shares
from factory.spec import EncodeSpec


def describe_classes(material: LabelMaterial, classes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What the surveyed samples and the fit say about classes, each given by its nodes."""
    tree, survey = material.tree, material.survey
    stability = tree.evidence.stability if tree.evidence is not None else None
    figures = survey.measure(classes)
    shares = mask_shares(tree, classes)
    return {
        "num_samples": survey.num_ready,
        "num_wanted": survey.num_samples,
        "grid": len(figures[0].place),
        "classes": [
            _encode(found)
            | {
                "doubts": doubts_of_class(tree, nodes, share),
                "stability": None if stability is None else [float(stability[n]) for n in nodes],
            }
            for found, nodes, share in zip(figures, classes, shares, strict=True)
        ],
    }


def describe_sample(
    closer: CloserLook, index: int, classes: Sequence[Sequence[int]], at: int
) -> dict[str, Any]:
    """One sample with class `at` and its parts at full size."""
    image = closer.image(index)
    inside, parts = closer.masks(index, classes, at)
    return {
        "image": picture_uri(image),
        "side": len(image),
        "inside": _text(inside.tobytes()),
        "parts": _text(parts.tobytes()),
    }


def picture_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """`image` as a PNG inside an address, as a page may load it."""
    return f"data:image/png;base64,{_text(encode_image(image, EncodeSpec()))}"


def _encode(found: ClassFigures) -> dict[str, Any]:
    facts = {name: getattr(found, name) for name in ("share", "images", "typical", "doubtful")}
    place = (found.place.numpy() * 255).round().astype(np.uint8)
    parts = [dataclasses.asdict(part) for part in found.parts]
    return facts | {"place": _text(place.tobytes()), "parts": parts}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
