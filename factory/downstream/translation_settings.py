"""The settings of training a network that makes images from masks."""

from typing import Literal

from pydantic import Field

from factory.spec.settings import Settings


class TranslationSettings(Settings):
    """How a translator is trained. With equal settings and data it is trained in the same way."""

    size: Literal["S", "M"] = "S"
    """S = 32 to 96 channels, for a CPU; M = four times as many, for a GPU."""
    steps: int = Field(4000, ge=1, le=10**7)
    """Updates of both networks."""
    batch_size: int = Field(8, ge=1, le=4096)
    """Pairs per step."""
    every: int = Field(200, ge=1)
    """Steps between saves and lines of the log."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the first weights, the order of the pairs, and the latents."""
