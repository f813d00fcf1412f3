"""The report of a search as a picture: samples along the directions, masks, and the loss by step."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from factory.dataset.preview import Pair, overlay
from factory.fit.direction.fit import CURVE_PREFIX
from factory.generate.base import LatentShifter, load_generator
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import LocalWeights
from factory.segment.base import generate_and_segment, load_segmenter
from factory.segment.direction.segmenter import LABELS, find_directions
from factory.segment.segmenter_file import decode_segmenter
from factory.spec import DatasetSpec
from factory.spec.direction import DirectionSpec

NUM_SAMPLES = 8
"""The dataset's first samples are shown."""

_TILE_PX, _GAP_PX, _TEXT_PX, _CURVE_PX = 128, 6, 26, 220
_INK, _PLAIN = "#1c1d1f", "#c3c7cc"
_COLOURS = {"light": "#d98a00", "dark": "#34507a"}
_STOPS = (("dark", 1.0), ("dark", 0.5), ("", 0.0), ("light", 0.5), ("light", 1.0))
"""Columns: a direction, and how far along it as a share of the job's epsilon."""


def draw_report(
    dataset: DatasetSpec,
    spec: DirectionSpec,
    weights: LocalWeights,
    fitted: bytes,
    device: torch.device,
) -> dict[str, bytes]:
    """Draw `report.png`; without a curve if the directions were not searched for here.

    Raises:
        JobError: If the file is for another generator.
    """
    tensors, _ = decode_segmenter(fitted, source="the fitted segmenter")
    space, directions = find_directions(tensors, "the fitted segmenter")
    generator = load_generator(dataset.generator, weights.path, device=device)
    assert isinstance(generator, LatentShifter)  # the fit asked
    plain = spec.model_copy(update={"confidence": "margin", "clean": None})
    with TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "segmenter"
        path.write_bytes(fitted)
        segmenter = load_segmenter(plain, path, generator.facts, device)
        latents = LatentSampler(generator, dataset.latents, dataset.generator).draw(
            range(NUM_SAMPLES)
        )
        batch, masks = generate_and_segment(generator, segmenter, latents)
        columns = []
        for sign, share in _STOPS:
            if sign and sign not in spec.signs:
                continue
            length = share * spec.epsilon
            shift = length * directions[sign or spec.signs[0]].to(device)
            colours = generator.shifted(latents, space, shift.expand(NUM_SAMPLES, *shift.shape))
            columns.append((f"{sign} {length:g}" if sign else "as it is", _to_bytes(colours)))
    columns.append(("mask", _overlays(batch.images.cpu().numpy(), masks.masks.cpu().numpy())))
    curves = {
        sign: tensors[f"{CURVE_PREFIX}{sign}"][:, :2].sum(dim=1)
        for sign in spec.signs
        if f"{CURVE_PREFIX}{sign}" in tensors
    }
    return {"report.png": _draw(columns, masks.rejections, curves)}


def _to_bytes(colours: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    scaled = ((colours.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pixels: np.ndarray = scaled.permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def _overlays(
    images: UInt8[np.ndarray, "n h w 3"], masks: UInt8[np.ndarray, "n h w"]
) -> UInt8[np.ndarray, "n h w 3"]:
    pairs = [Pair("", image, mask) for image, mask in zip(images, masks, strict=True)]
    return np.stack([overlay(pair, list(LABELS)) for pair in pairs])


def _draw(
    columns: Sequence[tuple[str, np.ndarray]],
    rejections: Sequence[str],
    curves: Mapping[str, Tensor],
) -> bytes:
    """A row of tiles for each sample under the columns' names, and the curves below."""
    step = _TILE_PX + _GAP_PX
    notes_px = 2 * step
    width = len(columns) * step + _GAP_PX + notes_px
    height = _TEXT_PX + len(rejections) * step + (_CURVE_PX + 2 * _TEXT_PX if curves else 0)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for number, (title, images) in enumerate(columns):
        left = _GAP_PX + number * step
        draw.text((left, 5), title, fill=_INK, font=font)
        for row, image in enumerate(images):
            tile = Image.fromarray(image).resize((_TILE_PX, _TILE_PX), Image.Resampling.BICUBIC)
            sheet.paste(tile, (left, _TEXT_PX + row * step))
    for row, reason in enumerate(rejections):
        place = (width - notes_px + _GAP_PX, _TEXT_PX + row * step + _TILE_PX // 2)
        draw.text(place, reason or "accepted", fill=_INK, font=font)
    if curves:
        _draw_curves(draw, curves, top=_TEXT_PX + len(rejections) * step, width=width)
    sink = io.BytesIO()
    sheet.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def _draw_curves(
    draw: ImageDraw.ImageDraw, curves: Mapping[str, Tensor], *, top: int, width: int
) -> None:
    font = ImageFont.load_default(14)
    values = torch.stack(list(curves.values()))
    low, high = float(values.min()), float(values.max())
    left, right = 60, width - 10
    upper, lower = top + _TEXT_PX, top + _TEXT_PX + _CURVE_PX
    num_steps = values.shape[1]
    draw.text((_GAP_PX, top + 4), f"loss in {num_steps} steps", fill=_INK, font=font)
    for value, at in ((high, upper), (low, lower)):
        draw.line([(left, at), (right, at)], fill=_PLAIN)
        draw.text((_GAP_PX, at - 8), f"{value:.2f}", fill=_INK, font=font)
    for number, (sign, curve) in enumerate(curves.items()):
        heights = (curve - low) / max(high - low, 1e-9)
        points = [
            (left + (right - left) * place / max(num_steps - 1, 1), lower - float(y) * _CURVE_PX)
            for place, y in enumerate(heights)
        ]
        draw.line(points, fill=_COLOURS[sign], width=2)
        draw.text((left + 130 * (number + 1), top + 4), sign, fill=_COLOURS[sign], font=font)
