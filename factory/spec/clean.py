"""The settings of the clean-up of masks, a last step of any segmenter."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from factory.spec.settings import ClassKey, ClassKeys, IdentityFields, Settings


class CleanSpec(Settings):
    """Clean-up of masks: what is done with the parts of the objects, in the order listed here."""

    identity_fields = IdentityFields(
        ("classes", "smooth", "fill_holes", "border_objects", "min_area", "keep")
    )

    classes: Annotated[list[ClassKey] | None, ClassKeys] = Field(None, min_length=1)
    """Classes that make up the objects, by name or mask value, e.g. `[nucleus, cytoplasm]`; the others
    are ground. Empty = all but class 0."""
    smooth: int = Field(0, ge=0, le=32)
    """Give each pixel the class that most pixels have in the square of so many pixels around it; a tie
    changes nothing. 0 = off."""
    fill_holes: bool = False
    """Give ground that an object surrounds the class that most of its border has."""
    border_objects: Literal["keep", "drop", "ignore"] = "keep"
    """Parts that touch the border of the image: `drop` makes them ground, `ignore` gives them 255."""
    min_area: int = Field(0, ge=0)
    """Parts with fewer pixels become ground. 0 = off."""
    keep: Literal["all", "largest", "central"] = "all"
    """Parts that stay: all, the one with the most pixels, or the one nearest to the image's centre.
    The others become ground: the class that most of their border has, and 255 if it has none, in an
    image that a part fills or among unclaimed pixels."""

    @model_validator(mode="after")
    def _does_something(self) -> "CleanSpec":
        if not self.model_fields_set - {"classes"}:
            raise ValueError(
                "does nothing; set smooth, fill_holes, border_objects, min_area or keep, or leave it "
                "out"
            )
        return self
