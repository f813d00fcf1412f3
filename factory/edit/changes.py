"""Changes of masks by a rule: a class grows, shrinks, is shifted, or becomes another one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from factory.data import IGNORE
from factory.errors import JobError
from factory.identity import counter_rng
from factory.manifest.labels import MaskClass, find_class
from factory.spec import EditSpec

_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))
_DIRECTIONS = (*_SIDES, (-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True, slots=True)
class Change:
    """A rule, with its classes as ids."""

    kind: str
    """As `EditSpec.change`."""
    of: int
    """The class that changes."""
    to: int | None
    """The class that takes its place; None = the nearest other one."""
    by_px: int
    """By how much."""
    seed: int
    """Seed of the directions of shifts."""

    def paint(self, mask: UInt8[np.ndarray, "h w"], index: int) -> UInt8[np.ndarray, "h w"]:
        """What is painted over the mask of sample `index`; 255 where it stays: maybe everywhere."""
        region = mask == self.of
        changed = np.full_like(mask, IGNORE)
        if self.kind == "relabel":
            assert self.to is not None  # the settings require it
            changed[region] = self.to
            return changed
        if self.kind == "grow":
            changed[_grown(region, self.by_px) & ~region] = self.of
            return changed
        if self.kind == "shrink":
            after = ~_grown(~region, self.by_px) & region
        else:
            direction = counter_rng("edits", self.seed, index).integers(len(_DIRECTIONS))
            after = _moved(region, *(self.by_px * step for step in _DIRECTIONS[direction]))
        changed[after & ~region] = self.of
        left = region & ~after
        changed[left] = self.to if self.to is not None else _nearest(mask, region)[left]
        return changed


def make_change(spec: EditSpec, labels: Sequence[MaskClass], *, seed: int) -> Change:
    """The rule of `spec` for masks with the classes `labels`.

    Raises:
        JobError: If a class is unknown, or both are the same.
    """
    assert spec.change is not None  # with masks there is no rule
    assert spec.of is not None
    of = find_class(spec.of, labels, where="dataset.edit.of")
    to = None if spec.to is None else find_class(spec.to, labels, where="dataset.edit.to")
    if to == of:
        raise JobError(
            where="dataset.edit.to",
            found=f"found {spec.to!r}, which is the class of `of` too",
            remedy="name two classes",
        )
    return Change(spec.change, of, to, spec.by_px, seed)


def _grown(region: Bool[np.ndarray, "h w"], by_px: int) -> Bool[np.ndarray, "h w"]:
    """Spread by so many pixels; sides and corners in turn make an octagon, which is nearly a disc."""
    for step in range(by_px):
        directions = _SIDES if step % 2 == 0 else _DIRECTIONS
        region = np.logical_or.reduce([region, *(_moved(region, *one) for one in directions)])
    return region


def _moved(region: Bool[np.ndarray, "h w"], down: int, right: int) -> Bool[np.ndarray, "h w"]:
    """Move by so many pixels; what leaves the image is gone, and nothing comes in."""
    moved = np.zeros_like(region)
    height, width = region.shape
    if abs(down) < height and abs(right) < width:
        source = region[
            max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
        ]
        moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = source
    return moved


def _nearest(
    mask: UInt8[np.ndarray, "h w"], region: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    """The mask with the classes around `region` grown into it; 255 where there is no other class."""
    found = np.where(region, IGNORE, mask).astype(np.uint8)
    while True:
        padded = np.pad(found, 1, constant_values=IGNORE)
        height, width = found.shape
        grown = found
        for down, right in _SIDES:
            beside = padded[1 - down : 1 - down + height, 1 - right : 1 - right + width]
            grown = np.where((grown == IGNORE) & region, beside, grown)
        if (grown == found).all():
            return grown
        found = grown
