"""The settings of distillation: a linear head that imitates a slow method."""

from typing import Literal

from pydantic import Field, field_validator

from factory.spec.fit import FittingSeed, LayerNames
from factory.spec.methods import METHODS
from factory.spec.segmenters import MethodSettings, TeacherSpec, find_unteachable
from factory.spec.settings import Fraction, IdentityFields


class DistilSpec(MethodSettings):
    """A linear head that imitates a slow method: masks at the price of one forward pass."""

    identity_fields = IdentityFields(
        (
            *("kind", "teacher", "samples", "drop_share", "held_out", "min_agreement"),
            *("pixels_per_image", "layers", "seed"),
        )
    )

    kind: Literal["distil"] = "distil"
    """`distil`."""
    teacher: TeacherSpec
    """The method to imitate: any other kind, with its own settings."""
    samples: int = Field(500, ge=10)
    """Images that the teacher labels."""
    drop_share: float = Field(0.2, ge=0, lt=1)
    """Share of the teacher's masks left out, the least certain ones; those it rejects always are."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of the rest that the head is scored on instead of fitted."""
    min_agreement: Fraction = 0.8
    """Fail if head and teacher agree less on the held-out images (mean over classes of IoU)."""
    pixels_per_image: int = Field(256, ge=1)
    """Pixels taken from each image, at random places."""
    layers: LayerNames = "auto"
    """Feature maps of the head, as for `kmeans`."""
    seed: FittingSeed = 0
    """Seed of the images (never those of the dataset) and of the pixels."""

    @field_validator("teacher")
    @classmethod
    def _can_be_imitated(cls, value: MethodSettings) -> MethodSettings:
        method = METHODS.get(value.kind)  # a plugin's is known only when it is imported
        problem = find_unteachable(method, value) if method else ""
        if problem:
            raise ValueError(problem)
        return value
