"""The settings of distillation: a linear head fitted to a slow method's masks."""

from typing import Literal

from pydantic import Field, field_validator

from factory.spec.fit import FittingSeed, LayerNames
from factory.spec.methods import METHODS
from factory.spec.segmenters import MethodSettings, TeacherSpec, find_unteachable
from factory.spec.settings import Fraction, IdentityFields


class DistilSpec(MethodSettings):
    """A linear head that imitates a slow method: masks at the cost of one forward pass."""

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
    """Number of images that the teacher segments."""
    drop_share: float = Field(0.2, ge=0, lt=1)
    """Share of the teacher's masks that are left out, those of least confidence; rejected ones always
    are."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of the remaining images that is held out to score the head."""
    min_agreement: Fraction = 0.8
    """The fit fails if the mean IoU of head and teacher on the held-out images is below this."""
    pixels_per_image: int = Field(256, ge=1)
    """Pixels sampled per image, at random places."""
    layers: LayerNames = "auto"
    """Feature maps that the head reads, as for `kmeans`."""
    seed: FittingSeed = 0
    """Seed of the fitting images (never those of the dataset) and of the pixels."""

    @field_validator("teacher")
    @classmethod
    def _can_be_imitated(cls, value: MethodSettings) -> MethodSettings:
        method = METHODS.get(value.kind)  # a plugin's is known only when it is imported
        problem = find_unteachable(method, value) if method else ""
        if problem:
            raise ValueError(problem)
        return value
