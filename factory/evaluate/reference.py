"""The promise of a reference: for a sample of the dataset, the mask it should have had."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """One sample of the dataset, as far as a reference must know it."""

    key: str
    """Its key."""
    mask: UInt8[np.ndarray, "h w"]
    """Its mask; 255 = ignore."""
    image: UInt8[np.ndarray, "h w 3"] | None
    """Its image, if the reference asked for images; RGB, 0 to 255."""


@runtime_checkable
class Reference(Protocol):
    """Knows the masks that a dataset is held against."""

    name: str
    """What a person calls it."""
    classes: tuple[str, ...]
    """Names of its classes by id; empty if it does not know them."""
    needs_images: bool
    """Whether `masks` looks at images."""

    def masks(self, samples: Sequence[ScoredSample]) -> list[UInt8[np.ndarray, "_h _w"] | None]:
        """The reference of each sample, None if it has none. Called from several threads at once."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a network wants its images: RGB from 0 to 1, less `mean`, divided by `std`, NCHW float32."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Per channel."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Per channel."""
    size_px: int | None = None
    """Rows and columns, resized bilinearly; None = as they are."""
