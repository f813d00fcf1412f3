"""How a network is scored on pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from factory.downstream.predict import View
from factory.errors import JobError

Protocol = Literal["none", "feng2023", "melas2022", "klish2023"]
"""The evaluation of a paper: `feng2023` (style mixing) and `melas2022` know foreground and background
alone, `klish2023` matches classes without common names greedily."""
Keep = Literal["all", "largest", "central"]

_MOST_TRIMAP_PX = 64
_MOST_SEED = 2**31
_NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_UNIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """How a network is scored on pictures."""

    protocol: Protocol = "none"
    """The paper whose evaluation is followed."""
    mapping: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Class of the pictures' masks by class of the network. Other classes are matched by equal names;
    those without a match count as background."""
    unions: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NO_UNIONS)
    """Further parts to score: classes of the pictures' masks taken together, by a name."""
    reference_names: tuple[str, ...] = ()
    """Names of the masks' classes by id, where the pictures have none."""
    background: str = ""
    """The masks' background class; empty = class 0."""
    view: View = "whole"
    """Whether a picture is shrunk to the network's side, or cut into tiles of it."""
    keep: Keep = "all"
    """Which objects of an answer stay: all, the largest, or the one nearest to the centre."""
    fill_holes: bool = False
    """Fill holes in the objects of an answer."""
    trimap_px: int = 3
    """Rows and columns from a true border within which the trimap's pixels lie: a square's distance."""
    limit: int | None = None
    """Score the first pictures only."""
    seed: int = 0
    """Seed of the bootstrap."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            JobError: If there are any.
        """
        bounds = (
            ("trimap_px", self.trimap_px, 1, _MOST_TRIMAP_PX),
            ("limit", self.limit or 1, 1, _MOST_SEED),
            ("seed", self.seed, 0, _MOST_SEED),
        )
        for name, number, least, most in bounds:
            if not least <= number <= most:
                allowed = f"{least} to {most:,}"
                raise JobError(where=name, found=f"found {number}", allowed=allowed)
