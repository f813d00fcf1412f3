"""The protocol of a reference: the correct mask for a sample of the dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """One sample of the dataset: the input of a reference."""

    key: str
    """Its key."""
    mask: UInt8[np.ndarray, "h w"]
    """Its mask; 255 = ignore."""
    image: UInt8[np.ndarray, "h w 3"] | None
    """Its image if the reference needs images, else None; RGB, 0 to 255."""


@runtime_checkable
class Reference(Protocol):
    """The source of the masks that a dataset is scored against."""

    name: str
    """Its name for display."""
    classes: tuple[str, ...]
    """Names of its classes by id; empty if unknown."""
    needs_images: bool
    """Whether `masks` uses images."""

    def masks(self, samples: Sequence[ScoredSample]) -> list[UInt8[np.ndarray, "_h _w"] | None]:
        """The reference mask of each sample; None if it has none. Must be thread-safe."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """A network's input format: RGB from 0 to 1, minus `mean`, divided by `std`, NCHW float32."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Per channel."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Per channel."""
    size_px: int | None = None
    """Rows and columns to resize to (bilinear); None = unchanged."""
