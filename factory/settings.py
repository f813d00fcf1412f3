"""What every part of the job file is built from."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Settings(BaseModel):
    """A frozen part of the job file that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class FitSpec(Settings):
    """What a segmenter without labels is fitted on: pixels streamed from the generator itself."""

    num_images: int = Field(128, ge=2)
    """Images to sample pixels from."""
    pixels_per_image: int = Field(512, ge=1)
    """Pixels taken from each, at random places."""
    seed: int = Field(0, ge=0, lt=2**62)
    """Seed of the fitting images (never those of the dataset), the pixels and the clustering."""
