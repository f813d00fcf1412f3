"""The settings of sampling for layouts: which masks the samples should have, and how they are found."""

from typing import Literal

from pydantic import Field, model_validator

from factory.spec.settings import IdentityFields, InputPath, Settings

_OF_DESCENT = ("steps", "latents", "learning_rate", "stay", "prior")


class LayoutSpec(Settings):
    """Samples whose masks have given layouts: semantic-conditional sampling (Xu and Zheng 2021)."""

    identity_fields = IdentityFields(
        ("kind", "method", "candidates", *_OF_DESCENT),
        left_out=("layouts", "dataset", "num_layouts", "seed"),
    )

    kind: Literal["layout"]
    """`layout`."""
    layouts: InputPath | None = None
    """Folder of masks that the samples should have, in files of any tool, as for painted pictures; 255,
    or what is not painted, may be anything. Its path is relative to the job's file."""
    dataset: InputPath | None = None
    """Address of a dataset whose masks the samples should have, used instead of `layouts`. Classes are
    matched by name."""
    num_layouts: int = Field(100, ge=1, le=10_000)
    """Masks to draw from `dataset`."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of that draw."""
    method: Literal["optimise", "ranked"] = "optimise"
    """`optimise` = the best of `candidates` latents is moved towards the layout; it needs a generator
    with gradients and a segmenter with a linear head. `ranked` = the image with the best IoU among
    those of `candidates` latents is taken, with any generator and segmenter."""
    candidates: int = Field(100, ge=1, le=100_000)
    """Latents that are drawn for each sample."""
    steps: int = Field(50, ge=1, le=10_000)
    """Steps of Adam. Each takes as long as three images."""
    latents: Literal["shared", "per_layer"] = "shared"
    """`shared` = one latent for all layers; `per_layer` = one for each style row, which fits layouts
    better and strays further from what the generator was trained on."""
    learning_rate: float = Field(0.01, gt=0, le=10)
    """Learning rate of Adam."""
    stay: float = Field(1e-3, ge=0, le=1e3)
    """Weight of the squared distance from the candidate in the loss."""
    prior: float = Field(1e-3, ge=0, le=1e3)
    """Weight of the squared length of the latents in the loss."""

    @model_validator(mode="after")
    def _fits_together(self) -> "LayoutSpec":
        if (self.layouts is None) == (self.dataset is None):
            raise ValueError("needs `layouts`, a folder of masks, or `dataset`, and not both")
        beside = [name for name in ("num_layouts", "seed") if name in self.model_fields_set]
        if self.layouts is not None and beside:
            raise ValueError(f"`{beside[0]}` is about `dataset`; leave it out beside `layouts`")
        of_descent = [name for name in _OF_DESCENT if name in self.model_fields_set]
        if self.method == "ranked" and of_descent:
            raise ValueError(f"`{of_descent[0]}` is about `optimise`; leave it out with `ranked`")
        return self
