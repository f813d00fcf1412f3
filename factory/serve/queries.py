"""Parameters of requests to the service: each has bounds, and the OpenAPI document states them."""

from typing import Any, Literal

from pydantic import Field, field_validator

from factory.described import Described
from factory.serve.answers import Pick, ShardState

Order = Literal["ascending", "descending"]
PaceOf = Literal["latest_run", "all_runs"]


class _Query(Described):
    """Parameters whose docstrings are in the OpenAPI document."""


class ShardsQuery(_Query):
    """Selection of shards."""

    state: ShardState | None = None
    offset: int = Field(0, ge=0, le=10**6)
    limit: int = Field(100, ge=1, le=1000)


class GalleryQuery(_Query):
    """Selection of samples."""

    pick: Pick = "latest"
    mask_class: int = Field(0, ge=0, le=254)
    """For `pick=class`: samples in which this class has the largest share."""
    limit: int = Field(12, ge=1, le=48)


class SearchQuery(_Query):
    """What samples must have to be found, and where to begin."""

    order: Order = "ascending"
    """By key."""
    from_key: str | None = Field(None, pattern=r"^[0-9]{9}$")
    """Where to begin; the sample of this key is included."""
    mask_class: int | None = Field(None, ge=0, le=254)
    """They contain this mask class."""
    min_area: float = Field(0, ge=0, le=1, allow_inf_nan=False)
    """Least share of `mask_class` in the mask."""
    max_area: float = Field(1, ge=0, le=1, allow_inf_nan=False)
    """Largest share of `mask_class` in the mask."""
    generator_class: int | None = Field(None, ge=-1, lt=2**31)
    """They are of this class of the generator; -1 = of none."""
    min_confidence: float = Field(0, ge=0, le=1, allow_inf_nan=False)
    max_confidence: float = Field(1, ge=0, le=1, allow_inf_nan=False)
    limit: int = Field(24, ge=1, le=48)

    @field_validator("min_area", "max_area")
    @classmethod
    def _is_of_a_class(cls, value: float, info: Any) -> float:  # noqa: ANN401 - a `ValidationInfo`
        if info.data.get("mask_class") is None:
            raise ValueError("needs mask_class, the class whose share of the mask it is")
        return value

    @field_validator("max_area", "max_confidence")
    @classmethod
    def _is_not_below(cls, value: float, info: Any) -> float:  # noqa: ANN401 - a `ValidationInfo`
        least = f"min_{str(info.field_name).removeprefix('max_')}"
        if value < info.data.get(least, 0):
            raise ValueError(f"must not be below {least}")
        return value


class PaceQuery(_Query):
    """Which shards count."""

    of: PaceOf = "latest_run"
    """Those of the run that committed last, or all."""


class FailuresQuery(_Query):
    """Selection of failures."""

    offset: int = Field(0, ge=0, le=10**6)
    limit: int = Field(50, ge=1, le=200)


class DatasetsQuery(_Query):
    """Selection of datasets."""

    offset: int = Field(0, ge=0, le=10**6)
    limit: int = Field(50, ge=1, le=200)
