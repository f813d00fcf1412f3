"""The settings of agreement: other methods whose masks of a latent each mask is compared with."""

from pydantic import Field, field_validator

from factory.spec.segmenters import MethodSettings, TeacherSpec
from factory.spec.settings import IdentityFields, Settings


class OtherSpec(Settings):
    """A method that masks are compared with."""

    identity_fields = IdentityFields(("method",))

    method: TeacherSpec
    """The method, with its own settings, as in `dataset.segmenter`; it is fitted too."""

    @field_validator("method")
    @classmethod
    def _has_masks_alone(cls, value: MethodSettings) -> MethodSettings:
        if getattr(value, "instances", None) is not None:
            raise ValueError("masks are compared, and no objects: leave out `instances`")
        return value


class AgreementSpec(Settings):
    """Agreement of each mask with those that other methods make of the same latent."""

    identity_fields = IdentityFields(("others",))

    others: list[OtherSpec] = Field(min_length=1, max_length=4)
    """The other methods. The agreement is the mean over them of the mean IoU over classes. Classes are
    matched by name where both methods have the same names; else the method with more classes has each
    of them merged into that class of the other with which it shares most pixels of 64 fitting
    images. A mask that the other method would reject is compared like any other."""
