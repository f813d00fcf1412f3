"""Settings that fitted methods share: the feature maps they read, the pixels they are fitted on."""

from typing import Annotated, Literal

from pydantic import Field

from factory.spec.settings import IdentityFields, Settings

LayerNames = Literal["auto"] | list[str]
"""Feature maps by name, or `auto`."""

FittingSeed = Annotated[int, Field(ge=0, lt=2**62)]
"""Seed of fitting images, which are never those of the dataset."""


class FitSpec(Settings):
    """What a segmenter without labels is fitted on: pixels streamed from the generator itself."""

    identity_fields = IdentityFields(("num_images", "pixels_per_image", "memory_gib", "seed"))

    num_images: int = Field(128, ge=2)
    """Images to sample pixels from."""
    pixels_per_image: Annotated[int, Field(ge=1)] | Literal["auto"] = 512
    """Pixels taken from each, at random places. `auto` = as many as `memory_gib` holds, at most
    4096."""
    memory_gib: float = Field(2.0, gt=0, le=4096)
    """Memory that the fit may hold beside the generator, all workers together: pixels, scores and
    work arrays. It is here, not in `run`, because `auto` takes its pixels from it."""
    seed: FittingSeed = 0
    """Seed of the fitting images (never those of the dataset), the pixels and the clustering."""
