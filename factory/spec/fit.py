"""Settings that fitted methods share: the feature maps they read, the pixels they are fitted on."""

from typing import Annotated, Literal

from pydantic import Field

from factory.spec.settings import IdentityFields, Settings

LayerNames = Literal["auto"] | list[str]
"""Feature maps by name, or `auto`."""

FittingSeed = Annotated[int, Field(ge=0, lt=2**62)]
"""Seed of fitting images, which are never those of the dataset."""


class FitSpec(Settings):
    """The data of an unsupervised fit: feature vectors of pixels of generated images."""

    identity_fields = IdentityFields(("num_images", "pixels_per_image", "memory_gib", "seed"))

    num_images: int = Field(128, ge=2)
    """Number of images that pixels are sampled from."""
    pixels_per_image: Annotated[int, Field(ge=1)] | Literal["auto"] = 512
    """Pixels sampled per image, at random places. `auto` = as many as `memory_gib` holds, at most
    4096."""
    memory_gib: float = Field(2.0, gt=0, le=4096)
    """Memory limit of the fit in GiB, all workers together and without the generator: pixels, scores
    and work arrays. It is here, not in `run`, because `pixels_per_image: auto` depends on it."""
    seed: FittingSeed = 0
    """Seed of the fitting images (never those of the dataset), the pixels and the clustering."""
