"""The report of a fit as a picture: the tree, and the same samples at several numbers of classes."""

import io
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from factory.dataset.preview import Pair, overlay
from factory.label.layout import PlacedNode, place_nodes
from factory.label.material import LabelMaterial
from factory.manifest.labels import MaskClass
from factory.segment.tree.doubts import doubts_of_cut
from factory.segment.tree.hierarchy import Hierarchy
from factory.segment.tree.suggest import suggest_cuts

_COLUMNS = 8
_TILE_PX = 128
_GAP_PX = 8
_TEXT_PX = 30
_TREE_PX = 260
_AXIS_PX = 44
_MOST_CUTS = 4
_WIDTH = _COLUMNS * (_TILE_PX + _GAP_PX) + _GAP_PX
_ROOT = 1.4
_PLAIN = "#8a8f96"
_INK = "#1c1d1f"


def draw_picture(material: LabelMaterial) -> bytes:
    """Draw a PNG: the tree, coloured at the suggested cut, and samples with masks at up to four cuts.

    The cuts are those with the best scores of `suggest_cuts`.
    """
    tree = material.tree
    suggestion = suggest_cuts(tree)
    suggested = suggestion.num_classes
    counts = sorted(count for count, _ in suggestion.ranked[:_MOST_CUTS])
    row = _TEXT_PX + _TILE_PX + _GAP_PX
    height = _TEXT_PX + _TREE_PX + (len(counts) + 1) * row + _GAP_PX
    sheet = Image.new("RGB", (_WIDTH, height), "white")
    draw = ImageDraw.Draw(sheet)
    title = f"{material.name}: {tree.num_leaves} clusters merged, {suggested} suggested"
    _write(draw, _GAP_PX, f"{title}; {material.layers}" if material.layers else title)
    sheet.paste(draw_tree(tree, counts, suggested), (0, _TEXT_PX))
    top = _TEXT_PX + _TREE_PX
    _write(draw, top, "samples")
    _paste(sheet, material.gallery.images, top + _TEXT_PX)
    for position, count in enumerate(counts, start=1):
        _write(draw, top + position * row, _caption(tree, count, suggested))
        _paste(sheet, _overlays(material, count), top + position * row + _TEXT_PX)
    sink = io.BytesIO()
    sheet.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def draw_tree(tree: Hierarchy, counts: list[int], suggested: int) -> Image.Image:
    """Draw the tree, coloured below the cut at `suggested`, with a line across at each of `counts`."""
    nodes = place_nodes(tree)
    parents = {child: node.id for node in nodes for child in node.children or ()}
    colours = _colours_below(tree.flat_cut(suggested), nodes)
    sheet = Image.new("RGB", (_WIDTH, _TREE_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for count in counts:
        y = _y(count, tree)
        draw.line((_AXIS_PX, y, _WIDTH - _GAP_PX, y), fill="#d8dadd")
        mark = "*" if count == suggested else ""
        draw.text((_AXIS_PX - 6, y), f"{mark}{count}", _INK, _font(13), anchor="rm")
    for node in nodes:
        colour = colours.get(node.id, _PLAIN)
        above = nodes[parents[node.id]].born if node.id in parents else 1
        low = _y(node.born + 0.5, tree)
        draw.line((_x(node), _y(above + 0.5, tree), _x(node), low), colour, 2)
        if node.children:
            left, right = sorted(_x(nodes[child]) for child in node.children)
            draw.line((left, low, right, low), colour, 2)
    roots = sorted(_x(nodes[node]) for node in tree.flat_cut(2))
    draw.line((roots[0], _y(1.5, tree), roots[1], _y(1.5, tree)), _PLAIN, 2)
    return sheet


def _colours_below(cut: tuple[int, ...], nodes: list[PlacedNode]) -> dict[int, str]:
    colours = {}
    for top in cut:
        todo = [top]
        while todo:
            node = todo.pop()
            colours[node] = nodes[top].colour
            todo += nodes[node].children or ()
    return colours


def _overlays(material: LabelMaterial, count: int) -> UInt8[np.ndarray, "n h w 3"]:
    cut = material.tree.flat_cut(count)
    nodes = place_nodes(material.tree)
    labels = [
        MaskClass(id=position, name=str(node), colour=_rgb(nodes[node].colour))
        for position, node in enumerate(cut)
    ]
    images = material.gallery.images[:_COLUMNS]
    masks = material.gallery.masks(cut)[:_COLUMNS]
    side, rows = images.shape[1], masks.shape[1]
    nearest = np.arange(side) * rows // side
    wide = masks[:, nearest][:, :, nearest]
    pairs = zip(images, wide, strict=True)
    return np.stack([overlay(Pair("", image, mask), labels) for image, mask in pairs])


def _caption(tree: Hierarchy, count: int, suggested: int) -> str:
    words = f"{count} classes" + (", suggested" if count == suggested else "")
    if count > 2:
        iou, alike = tree.history[tree.num_leaves - count, 2:].tolist()
        words += f": worst cluster IoU {iou:.3f}, likeness to its partner {alike:.3f}"
    if tree.evidence is not None:
        words += f", agreement with other images {tree.evidence.agreement[count - 2]:.2f}"
    num_doubts = len(doubts_of_cut(tree, count))
    return words + (f"; {num_doubts} doubtful, see report.html" if num_doubts else "")


def _paste(sheet: Image.Image, images: UInt8[np.ndarray, "n h w 3"], top: int) -> None:
    for column, image in enumerate(images[:_COLUMNS]):
        how = Image.Resampling.NEAREST if len(image) <= _TILE_PX else Image.Resampling.BOX
        tile = Image.fromarray(image).resize((_TILE_PX, _TILE_PX), how)
        sheet.paste(tile, (_GAP_PX + column * (_TILE_PX + _GAP_PX), top))


def _write(draw: ImageDraw.ImageDraw, top: int, text: str) -> None:
    draw.text((_GAP_PX, top + 4), text, fill=_INK, font=_font(15))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _x(node: PlacedNode) -> float:
    return _AXIS_PX + node.x * (_WIDTH - _AXIS_PX - _GAP_PX)


def _y(count: float | int, tree: Hierarchy) -> float:
    """Vertical position of a cut: finer ones are lower, on a logarithmic scale."""
    depth = math.log(count / _ROOT) / math.log((tree.num_leaves + 1) / _ROOT)
    return 4 + depth * (_TREE_PX - 16)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
