"""Outlines of masks as polygons, exact to the pixel: their corners are corners of pixels.

Polygons are closed loops around the pixels of a 4-connected component. Formats that know no holes get
one loop per component, in which each hole is joined to the outline by a bridge of no width.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

Loop = list[tuple[int, int]]
"""Corners (x, y) in pixels; the last one is joined to the first."""


def outline(inside: Bool[np.ndarray, "h w"]) -> list[list[Loop]]:
    """The loops around each component: its outline first, then its holes.

    With y downwards, outlines run clockwise as seen, and holes the other way round.
    """
    loops = list(_loops(inside))
    outer = [loop for loop in loops if area_of(loop) > 0]
    found = [[loop] for loop in outer]
    for hole in loops:
        if area_of(hole) < 0:
            owners = [group for group in found if _contains(group[0], hole[0], hole[1])]
            min(owners, key=lambda group: area_of(group[0])).append(hole)
    return found


def bridged(loops: list[Loop]) -> Loop:
    """One loop of an outline and its holes, each joined to what lies to its left.

    Bridges run along borders of pixels, so that none goes through a pixel's centre.
    """
    whole = loops[0]
    for hole in sorted(loops[1:], key=min):
        start = hole.index(min(hole))
        x, y = hole[start]
        at, meets = _leftward(whole, x, y)
        around = [*hole[start:], *hole[: start + 1]]
        whole = [*whole[: at + 1], (meets, y), *around, (meets, y), *whole[at + 1 :]]
    return whole


def _leftward(loop: Loop, x: int, y: int) -> tuple[int, int]:
    """The edge of a loop that is met first to the left of a corner: its position, and its x."""
    found = [
        (x0, at)
        for at, ((x0, y0), (x1, y1)) in enumerate(zip(loop, [*loop[1:], loop[0]], strict=True))
        if x0 == x1 <= x and min(y0, y1) <= y <= max(y0, y1)
    ]
    meets, at = max(found)
    return at, meets


def area_of(loop: Loop) -> float:
    """Area inside a loop, in pixels; negative for one that runs counterclockwise as seen."""
    points: Float[np.ndarray, "n 2"] = np.array(loop, dtype=np.float64)
    x, y = points[:, 0], points[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _loops(inside: Bool[np.ndarray, "h w"]) -> Iterator[Loop]:
    """All loops along the edges between pixels inside and outside, with the inside to the right."""
    padded = np.pad(inside, 1)
    ahead: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    above = padded[1:-1, 1:-1] & ~padded[:-2, 1:-1]
    below = padded[1:-1, 1:-1] & ~padded[2:, 1:-1]
    left = padded[1:-1, 1:-1] & ~padded[1:-1, :-2]
    right = padded[1:-1, 1:-1] & ~padded[1:-1, 2:]
    for where, begin, end in (
        (above, (0, 0), (1, 0)),
        (right, (1, 0), (1, 1)),
        (below, (1, 1), (0, 1)),
        (left, (0, 1), (0, 0)),
    ):
        for y, x in np.argwhere(where).tolist():
            ahead[x + begin[0], y + begin[1]].append((x + end[0], y + end[1]))
    while ahead:
        yield _follow(ahead, min(ahead))


def _follow(ahead: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> Loop:
    """Follow edges until the loop is closed, and remove them; corners on straight lines are left out."""
    loop = [start]
    heading = (0, 0)
    here = start
    while True:
        there = _turn(ahead[here], here, heading)
        ahead[here].remove(there)
        if not ahead[here]:
            del ahead[here]
        step = (there[0] - here[0], there[1] - here[1])
        if step == heading:
            loop.pop()
        if there == start:
            return _without_straight_start([*loop, there])
        loop.append(there)
        heading, here = step, there


def _turn(
    choices: list[tuple[int, int]], here: tuple[int, int], heading: tuple[int, int]
) -> tuple[int, int]:
    """The edge to go on with: where two pixels touch at a corner, the one that keeps them apart."""
    if len(choices) == 1 or heading == (0, 0):
        return choices[0]
    right = (-heading[1], heading[0])
    return next(c for c in choices if (c[0] - here[0], c[1] - here[1]) == right)


def _without_straight_start(loop: Loop) -> Loop:
    """A closed loop without its repeated last corner, and without a first one on a straight line."""
    closed = loop[:-1]
    before, start, after = closed[-1], closed[0], closed[1]
    is_straight = (before[0] == start[0] == after[0]) or (before[1] == start[1] == after[1])
    return closed[1:] if is_straight else closed


def _contains(loop: Loop, first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether the edge of a hole from `first` to `second` lies inside of a loop."""
    # A point just beside the middle of that edge: on no grid line, so that no ray meets a corner.
    x, y = (first[0] + second[0]) / 2, (first[1] + second[1]) / 2
    dx, dy = np.sign(second[0] - first[0]), np.sign(second[1] - first[1])
    x, y = x - 0.25 * dy, y + 0.25 * dx  # the inside of the component is to the right of the edge
    odd = False
    for (x0, y0), (x1, _) in zip(loop, [*loop[1:], loop[0]], strict=True):
        if y0 > y and x0 != x1 and min(x0, x1) < x < max(x0, x1):
            odd = not odd
    return odd
