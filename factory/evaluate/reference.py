"""The promise of a reference: for a sample of the dataset, the mask it should have had."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from factory.errors import JobError
from factory.store import Store

GENERATOR = "generator"
"""Names the dataset's own generator, if it knows its masks, instead of a file."""

_MODELS = (".pt", ".pth", ".ts", ".onnx")


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


def is_computed(reference: str) -> bool:
    """Whether `reference` runs a network or a generator, instead of reading files."""
    return reference == GENERATOR or reference.endswith(_MODELS)


def open_reference(reference: str, store: Store, images: ImageInput) -> Reference:
    """The reference that a person names, for the dataset in `store`.

    Args:
        reference: `generator`, a TorchScript or ONNX file, a tar, or a folder of masks or tars.
        store: The dataset that will be held against it.
        images: For a network only.

    Raises:
        JobError: If there is no such file, or it holds no masks.
        PluginError: If the generator does not know its masks, or the network cannot be loaded.
    """
    if reference == GENERATOR:
        from factory.evaluate.reference_generator import GeneratorReference

        return GeneratorReference(store)
    path = Path(reference)
    if not path.exists():
        raise JobError(
            f"--reference: no file {reference!r}; give {GENERATOR!r}, a TorchScript (.pt) or ONNX "
            "(.onnx) file, a tar, or a folder of KEY.mask.png or of tars"
        )
    if reference.endswith(_MODELS):
        from factory.evaluate.reference_network import NetworkReference, load_network

        return NetworkReference(path.name, load_network(path), images)
    from factory.evaluate.reference_files import open_files

    return open_files(path)
