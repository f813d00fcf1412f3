"""A page that shows what a network scored: one file, without scripts, that needs no other."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from factory.data import IGNORE
from factory.downstream.evaluation import Answered
from factory.downstream.intervals import Figure
from factory.downstream.model_scores import ModelScores, PartScores
from factory.downstream.scored_classes import ScoredClasses
from factory.redact import shown
from factory.segment.palette import colour_at

_SIDE_PX = 220
_OPACITY = 0.55
_WRONG = np.array([230, 30, 90], dtype=np.float32)
_COLUMNS = {
    "IoU": "iou",
    "IoU, all pixels": "iou_global",
    "Dice": "dice",
    "Dice, all pixels": "dice_global",
    "Trimap": "trimap",
    "Trimap, all pixels": "trimap_global",
}
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --paper: #fff; --soft: #5d6770; --line: #d8dde2;
  --fill: #f4f6f8; --mark: #1f6fb2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --paper: #15191d; --soft: #9aa6b0;
  --line: #353d45; --fill: #1e242a; --mark: #6db3ec; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p, dd, figcaption { color: var(--soft); margin: .25rem 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; min-width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
td small { display: block; color: var(--soft); }
.heads { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.heads div { background: var(--fill); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem 1rem; }
.heads b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.key { display: inline-flex; align-items: center; gap: .4rem; margin-right: 1rem; }
.key i { width: .9rem; height: .9rem; border-radius: .2rem; border: 1px solid var(--line); }
.row { margin: .75rem 0; padding: .75rem; background: var(--fill); border: 1px solid var(--line);
  border-radius: .5rem; }
.row div { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .5rem; }
@media (max-width: 40rem) { body { padding: 1rem; }
  .row div { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
figure { margin: 0; } img { width: 100%; height: auto; display: block; border-radius: .25rem; }
svg { width: 100%; max-width: 46rem; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 13px; }
svg line { stroke: var(--line); } svg circle { fill: var(--mark); fill-opacity: .45; }
"""


def make_report(
    scores: ModelScores,
    classes: ScoredClasses,
    best: Sequence[Answered],
    worst: Sequence[Answered],
) -> bytes:
    """Write the page: figures with their intervals, the spread over pictures, best and worst answers.

    Args:
        scores: What the network scored.
        classes: The classes that were scored.
        best: Answers to show as the best.
        worst: Answers to show as the worst.
    """
    title = f"{scores.model} on {scores.pictures}"
    sections = [
        f"<h1>{_text(title)}</h1>",
        f"<p>{_text(_facts(scores))}</p>",
        _headline(scores),
        "<h2>By part</h2>",
        _table(scores),
        "<h2>By picture</h2><p>Each dot is a picture: its IoU by part.</p>",
        _spread(scores),
        _legend(classes),
        *_gallery("Worst", worst, scores, classes),
        *_gallery("Best", best, scores, classes),
        "<h2>How classes were matched</h2>",
        _matching(scores),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
        f"{''.join(sections)}</body></html>"
    )
    return page.encode()


def _text(text: str) -> str:
    return escape(shown(text))


def _facts(scores: ModelScores) -> str:
    kept = "" if scores.keep == "all" else f", {scores.keep} object only"
    filled = ", holes filled" if scores.fill_holes else ""
    paper = "" if scores.protocol == "none" else f", protocol {scores.protocol}"
    matched = (
        f", classes matched on {scores.num_matched_on:,} others" if scores.num_matched_on else ""
    )
    return (
        f"{scores.num_pictures:,} pictures, {scores.view} view{kept}{filled}{paper}{matched}; trimap of "
        f"{scores.trimap_px} px; 95 % intervals by a bootstrap over the pictures"
    )


def _number(figure: Figure) -> str:
    return "-" if figure.value is None else f"{figure.value:.3f}"


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"<small>{figure.low:.3f} to {figure.high:.3f}</small>"


def _headline(scores: ModelScores) -> str:
    shown_figures = {
        "mIoU": scores.miou,
        "mIoU, no background": scores.miou_foreground,
        "mIoU, all pixels": scores.miou_global,
        "pixel accuracy": scores.accuracy,
        **{f"{scores.protocol}: {name}": figure for name, figure in scores.figures.items()},
    }
    cards = [
        f"<div>{_text(name)}<b>{_number(figure)}</b>{_interval(figure)}</div>"
        for name, figure in shown_figures.items()
    ]
    return f'<section class="heads">{"".join(cards)}</section>'


def _table(scores: ModelScores) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("part", *_COLUMNS, "pictures"))
    rows = "".join(_table_row(part) for part in scores.parts)
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _table_row(part: PartScores) -> str:
    figures = [getattr(part, name) for name in _COLUMNS.values()]
    cells = "".join(f"<td>{_number(figure)}{_interval(figure)}</td>" for figure in figures)
    return f"<tr><td>{_text(part.name)}</td>{cells}<td>{part.num_pictures:,}</td></tr>"


def _spread(scores: ModelScores) -> str:
    """A line of dots for each part, from IoU 0 to 1."""
    height = 44 * len(scores.parts) + 24
    marks = [
        f'<line x1="{_x(at)}" y1="0" x2="{_x(at)}" y2="{height - 20}"/>'
        f'<text x="{_x(at)}" y="{height - 4}" text-anchor="middle">{at:.2g}</text>'
        for at in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    for place, part in enumerate(scores.parts):
        top = 44 * place
        marks.append(f'<text x="0" y="{top + 14}">{_text(part.name)}</text>')
        values = [row.iou[part.name] for row in scores.by_picture]
        marks += [
            f'<circle cx="{_x(value):.1f}" cy="{top + 26 + number * 7 % 11 - 5}" r="3"/>'
            for number, value in enumerate(values)
            if value is not None
        ]
    label = "IoU of every picture by part"
    return f'<svg viewBox="0 0 460 {height}" role="img" aria-label="{label}">{"".join(marks)}</svg>'


def _x(value: float) -> float:
    return 12 + 436 * value


def _legend(classes: ScoredClasses) -> str:
    keys = [
        f'<span class="key"><i style="background:rgb{colour_at(k)}"></i>{_text(classes.names[k])}</span>'
        for k in classes.objects
    ]
    wrong = tuple(int(v) for v in _WRONG)
    keys.append(f'<span class="key"><i style="background:rgb{wrong}"></i>wrong</span>')
    return f"<h2>Answers</h2><p>{''.join(keys)}</p>"


def _gallery(
    title: str, rows: Sequence[Answered], scores: ModelScores, classes: ScoredClasses
) -> list[str]:
    ious = {row.key: row.iou for row in scores.by_picture}
    found = [f"<h2>{title}</h2>"]
    for one in rows:
        figures = ", ".join(
            f"{name} {value:.3f}"
            for name, value in ious[one.picture.key].items()
            if value is not None
        )
        pictures = {
            "picture": one.picture.image,
            "truth": _laid_over(one.picture.image, one.picture.mask, classes),
            "answer": _laid_over(one.picture.image, one.answer, classes),
            "wrong": _wrong(one),
        }
        shown_pictures = "".join(
            f'<figure><img alt="{name} of {_text(one.picture.key)}" src="{_data(pixels)}">'
            f"<figcaption>{name}</figcaption></figure>"
            for name, pixels in pictures.items()
        )
        found.append(
            f'<section class="row"><b>{_text(one.picture.key)}</b><p>IoU: {_text(figures)}</p>'
            f"<div>{shown_pictures}</div></section>"
        )
    return found


def _laid_over(
    image: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"], classes: ScoredClasses
) -> UInt8[np.ndarray, "h w 3"]:
    table = np.zeros((IGNORE + 1, 3), dtype=np.float32)
    opacity = np.zeros(IGNORE + 1, dtype=np.float32)
    for k in classes.objects:
        table[k], opacity[k] = colour_at(k), _OPACITY
    share = opacity[mask][..., None]
    laid: UInt8[np.ndarray, "h w 3"] = (image * (1 - share) + table[mask] * share).astype(np.uint8)
    return laid


def _wrong(one: Answered) -> UInt8[np.ndarray, "h w 3"]:
    mask = one.picture.mask
    is_wrong = ((one.answer != mask) & (mask != IGNORE))[..., None]
    grey = np.repeat(one.picture.image.mean(axis=2, keepdims=True), 3, axis=2)
    return np.where(is_wrong, _WRONG, grey * 0.8 + 40).clip(0, 255).astype(np.uint8)


def _data(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    picture = Image.fromarray(pixels)
    scale = _SIDE_PX / max(picture.size)
    if scale < 1:
        picture.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    elif scale >= 2:
        factor = int(scale)
        size = (picture.width * factor, picture.height * factor)
        picture = picture.resize(size, Image.Resampling.NEAREST)
    sink = io.BytesIO()
    picture.save(sink, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()}"


def _matching(scores: ModelScores) -> str:
    rows = "".join(
        f"<tr><td>{_text(given)}</td><td>{_text(target)}</td></tr>"
        for given, target in scores.matching.items()
    )
    head = "<tr><th>class of the network</th><th>counted as</th></tr>"
    return f'<div class="wide"><table>{head}{rows}</table></div>'
