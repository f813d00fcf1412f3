"""The preview: a contact sheet of images and overlays, and a legend with each class's share."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from factory.dataset.finder import SampleFinder
from factory.dataset.samples import ReadSample, decode_sample
from factory.dataset.walk import explain_damage
from factory.manifest.labels import MaskClass
from factory.manifest.records import Manifest, ShardRecord
from factory.store import Store

_COLUMNS = 6
_ROWS = 4
_TILE_PX = 144
_GAP_PX = 8
_LEGEND_PX = 26
_MASK_OPACITY = 0.45
_IGNORE_COLOUR = (128, 128, 128)
_BEFORE_AND_AFTER = "left: before the edit, whose shares these are; right: after it"


@dataclass(frozen=True, slots=True)
class Pair:
    """One image with its mask."""

    key: str
    image: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]


def pairs_of(sample: ReadSample) -> list[Pair]:
    """The pair of a sample; of an edited one, those before and after its edit."""
    pairs = [Pair(sample.key, sample.image, sample.mask)]
    if sample.edited is not None and sample.edited_mask is not None:
        pairs.append(Pair(sample.key, sample.edited, sample.edited_mask))
    return pairs


def make_preview(store: Store, manifest: Manifest) -> bytes | None:
    """Draw the contact sheet as PNG; None if nothing is committed.

    Pairs are taken from shards spread over the dataset, so that differences between early and late
    shards are visible.
    """
    pairs = sample_pairs(store, manifest.records, _COLUMNS * _ROWS)
    if not pairs:
        return None
    sheet = draw_sheet(pairs, manifest.meaning.labels, _class_shares(manifest))
    sink = io.BytesIO()
    sheet.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def sample_pairs(store: Store, records: Sequence[ShardRecord], count: int) -> list[Pair]:
    """Read the first pairs of up to four shards spread over the dataset, `count` in total.

    Of edited samples, each pair is followed by the one after its edit.
    """
    if not records:
        return []
    num_shards = min(4, len(records))
    spread = [records[i * len(records) // num_shards] for i in range(num_shards)]
    pairs: list[Pair] = []
    for position, record in enumerate(spread):
        wanted = (count * (position + 1)) // num_shards - len(pairs)
        pairs += _first_pairs(store, record, wanted)
    return pairs


def _first_pairs(store: Store, record: ShardRecord, count: int) -> list[Pair]:
    """Read the first samples of a shard, without the rest of it."""
    finder = SampleFinder(store)
    pairs: list[Pair] = []
    index = record.first_index
    while len(pairs) < count and (stored := finder.find_next(record, index)) is not None:
        with explain_damage(store, record, stored.key):
            sample = decode_sample(stored, record.dataset_id)
        pairs += pairs_of(sample)
        index = int(stored.key) + 1
    return pairs


def paint(
    mask: UInt8[np.ndarray, "h w"], labels: Iterable[MaskClass]
) -> UInt8[np.ndarray, "h w 3"]:
    """Paint a mask in the colours of its classes, grey where there is no class."""
    palette = np.full((256, 3), _IGNORE_COLOUR, dtype=np.uint8)
    for label in labels:
        palette[label.id] = label.colour
    colours: np.ndarray = palette[mask]
    return colours


def overlay(pair: Pair, labels: list[MaskClass]) -> UInt8[np.ndarray, "h w 3"]:
    """Blend an image with its mask's colours; borders between classes are drawn opaque."""
    colours = paint(pair.mask, labels).astype(np.float32)
    blended = pair.image * (1 - _MASK_OPACITY) + colours * _MASK_OPACITY
    border = np.zeros(pair.mask.shape, dtype=bool)
    border[:, 1:] |= pair.mask[:, 1:] != pair.mask[:, :-1]
    border[1:] |= pair.mask[1:] != pair.mask[:-1]
    pixels: np.ndarray = np.where(border[..., None], colours, blended).round().astype(np.uint8)
    return pixels


def draw_sheet(pairs: list[Pair], labels: list[MaskClass], shares: list[float]) -> Image.Image:
    """Draw pairs in a grid, each image to the left of its overlay, with a legend below.

    Two pairs of one sample, before and after its edit, touch each other, and a line says so.

    `shares` are the classes' shares by id, followed by the share of pixels without a class.
    """
    columns = min(_COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    cell = 2 * _TILE_PX + _GAP_PX
    width = columns * cell + _GAP_PX
    legend = [(f"{label.name}  {shares[label.id]:.1%}", label.colour) for label in labels]
    if shares[-1]:
        legend.append((f"no class  {shares[-1]:.1%}", _IGNORE_COLOUR))
    font = ImageFont.load_default(size=15)
    entry = max(220, *(40 + round(font.getlength(text)) for text, _ in legend))
    per_line = max(1, (width - _GAP_PX) // entry)
    legend_lines = -(-len(legend) // per_line)
    grid_height = rows * (_TILE_PX + _GAP_PX) + _GAP_PX
    is_after = [pair.key == before.key for before, pair in pairwise(pairs)]
    height = grid_height + (legend_lines + any(is_after)) * _LEGEND_PX + _GAP_PX
    sheet = Image.new("RGB", (width, height), "white")
    for position, pair in enumerate(pairs):
        left = _GAP_PX + (position % columns) * cell
        if position and is_after[position - 1]:
            left -= _GAP_PX
        top = _GAP_PX + (position // columns) * (_TILE_PX + _GAP_PX)
        sheet.paste(_tile(pair.image), (left, top))
        sheet.paste(_tile(overlay(pair, labels)), (left + _TILE_PX, top))
    draw = ImageDraw.Draw(sheet)
    for position, (text, colour) in enumerate(legend):
        left = _GAP_PX + (position % per_line) * entry
        top = grid_height + (position // per_line) * _LEGEND_PX
        draw.rectangle((left, top, left + 18, top + 18), fill=colour)
        draw.text((left + 26, top), text, fill="black", font=font)
    if any(is_after):
        top = grid_height + legend_lines * _LEGEND_PX
        draw.text((_GAP_PX, top), _BEFORE_AND_AFTER, fill="black", font=font)
    return sheet


def _tile(pixels: UInt8[np.ndarray, "h w 3"]) -> Image.Image:
    picture = Image.fromarray(pixels)
    grows = pixels.shape[0] < _TILE_PX
    how = Image.Resampling.NEAREST if grows else Image.Resampling.BOX
    return picture.resize((_TILE_PX, _TILE_PX), how)


def _class_shares(manifest: Manifest) -> list[float]:
    """Each class's share of all pixels, by class id; the last is that of pixels without a class."""
    totals = manifest.totals
    px = np.array([*totals.class_px, totals.ignore_px])
    return [float(share) for share in px / max(1, px.sum())]
