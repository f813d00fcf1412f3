"""The settings of coverage targets."""

from typing import Annotated

from pydantic import Field, field_validator

from factory.spec.settings import ClassKeys, Fraction, Settings

AREA_EDGES = (
    0, 1, 2, 5, 10, 20, 30, 40, 50, 75, 100, 125, 150, 200, 250, 300, 350, 400, 500, 600, 700, 800,
    900,
)  # fmt: skip
"""Lower edges of the bins for a class's share of its mask, in thousandths. Receipts hold counts by bin,
so that an edge can never be moved."""


class AreaTarget(Settings):
    """A number of samples in which a class is large enough."""

    count: int = Field(ge=1, le=10**9)
    """Required number of samples."""
    min_area: Fraction = 0.0
    """Minimum share of the mask's pixels. Receipts count areas at these steps: 0, 0.001, 0.002, 0.005,
    0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7,
    0.8 and 0.9."""

    @field_validator("min_area")
    @classmethod
    def _is_counted(cls, value: float) -> float:
        if value not in [edge / 1000 for edge in AREA_EDGES]:
            steps = ", ".join(f"{edge / 1000:g}" for edge in AREA_EDGES)
            raise ValueError(f"receipts count areas at {steps}; choose one of them")
        return value


class CoverageSpec(Settings):
    """Coverage targets: rounds are added to those of `num_samples` until they are met."""

    min_samples: Annotated[
        dict[int | str, Annotated[int, Field(ge=1, le=10**9)] | AreaTarget], ClassKeys
    ] = Field(default_factory=dict)
    """Required samples by class: of the generator by name, of the masks by name or number, e.g.
    `{lymphocyte: 500, nucleus: {count: 300, min_area: 0.2}}`."""
    balance: Fraction | None = None
    """Minimum samples of every generator class, as a share of those of the most frequent one; 1 = all
    equal. Empty = no such target."""
    budget: int = Field(ge=1, le=10**9)
    """Maximum number of images generated for these targets, accepted or not, beyond those of
    `num_samples`. A sample that was searched counts as many images as its search takes time for."""
    search: bool = True
    """Whether latents may be searched for a class of the masks, where that takes fewer images than
    rejection. false = samples are only chosen, so that all are as the generator draws them."""
