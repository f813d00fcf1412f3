"""The settings of the latent-direction method (Melas-Kyriazi et al., ICLR 2022)."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from factory.spec.fit import FittingSeed
from factory.spec.segmenters import MethodSettings
from factory.spec.settings import Fraction, IdentityFields, InputPath

Masks = Literal["both", "light", "dark"]
"""Which directions masks are made of."""

_Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
_AFTER_FIT = frozenset(
    {
        *("kind", "clean", "confidence", "masks", "space", "light", "dark", "epsilon"),
        *("foreground_share", "min_part", "two_modes", "min_roundness", "min_overlap"),
    }
)


class DirectionSpec(MethodSettings):
    """Foreground by a latent direction (Melas-Kyriazi et al., ICLR 2022): no feature maps, no labels."""

    identity_fields = IdentityFields(
        (
            *("kind", "masks", "space", "light", "dark", "steps", "images_per_step"),
            *("learning_rate", "radius", "radius_spread", "min_radius", "centre_weight"),
            *("edge_weight", "seed", "epsilon", "foreground_share", "min_part", "two_modes"),
            *("min_roundness", "min_overlap"),
        )
    )

    kind: Literal["direction"] = "direction"
    """`direction`."""
    masks: Masks = "both"
    """What foreground is: `both` = lighter along the light direction than along the dark one; `light` =
    what the light direction makes lighter; `dark` = what the dark one makes darker."""
    space: Literal["auto", "z", "w", "w_plus"] = "auto"
    """Latent space of the directions: `z` = the latent that is drawn; `w` = the style, `w_plus` = a
    style for each layer, of style-based networks. `auto` = `w_plus` where there is one, else
    `z`."""
    light: InputPath | None = None
    """Path of a light direction that the authors' program found (`latest.pth`); with it, settings of the
    search do not apply."""
    dark: InputPath | None = None
    """Path of a dark direction that the authors' program found."""
    steps: int = Field(300, ge=10, le=1_000_000)
    """Steps of the search, which is Adam; the authors' value, as are those of all settings below."""
    images_per_step: int = Field(32, ge=1, le=65_536)
    """New images in each step."""
    learning_rate: _Positive = 5e-3
    """Learning rate of Adam."""
    radius: float = Field(2.0, ge=0, le=1e6)
    """Mean length of a shift during the search. It is drawn for each entry of each latent."""
    radius_spread: float = Field(0.5, ge=0, le=1e6)
    """Standard deviation of that length."""
    min_radius: float = Field(0.1, ge=0, le=1e6)
    """Minimum of that length."""
    centre_weight: _Positive = 2.0
    """Weight of a centre that becomes lighter than the border, or darker."""
    edge_weight: float = Field(10.0, ge=0, le=1e6)
    """Weight of edges that stay as they are."""
    seed: FittingSeed = 0
    """Seed of the first direction, the images and the lengths of shifts; the authors' is 42."""
    epsilon: _Positive = 5.0
    """Length of the shift when masks are made, over all entries of the latent."""
    foreground_share: tuple[Fraction, Fraction] = (0.01, 0.5)
    """Allowed range of the foreground's share of the pixels, of the mask and of each direction's own;
    other masks are rejected. The authors allow an empty mask; faces need more than a half."""
    min_part: Fraction = 0.2
    """A connected part (8 neighbours) is background if its area is at most this share of the largest."""
    two_modes: Literal["hills", "published", "off"] = "hills"
    """Reject a shifted image whose colours do not have two modes: `hills` counts hills of the histogram,
    `published` every bin of a plateau, so that an image of one colour passes."""
    min_roundness: float = Field(0.0, ge=0, le=1)
    """Minimum area over squared outline of the largest part; a disc has 0.08. 0 = no limit."""
    min_overlap: Fraction = 0.0
    """Minimum share of pixels at which the masks of both directions agree. 0 = no limit."""

    @field_validator("foreground_share")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("the first share is the minimum and must not exceed the second")
        return value

    @model_validator(mode="after")
    def _files_for_the_masks(self) -> "DirectionSpec":
        if not (self.light or self.dark):
            return self
        wanted = {"light", "dark"} if self.masks == "both" else {self.masks}
        given = {name for name in ("light", "dark") if getattr(self, name)}
        if wanted != given:
            raise ValueError(
                f"`masks: {self.masks}` needs {' and '.join(sorted(wanted))}, found "
                f"{' and '.join(sorted(given))}: give the files of the masks, or none to search"
            )
        if surplus := sorted(self.model_fields_set - _AFTER_FIT):
            raise ValueError(f"directions are read from files; leave out {', '.join(surplus)}")
        return self

    @model_validator(mode="after")
    def _two_masks_to_compare(self) -> "DirectionSpec":
        if self.min_overlap and self.masks != "both":
            raise ValueError("`min_overlap` compares two masks: it needs `masks: both`")
        return self

    @property
    def signs(self) -> tuple[str, ...]:
        """The directions that the masks are made of."""
        return ("light", "dark") if self.masks == "both" else (self.masks,)
