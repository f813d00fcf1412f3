"""The settings of composites: objects of samples on other backgrounds."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from factory.spec.settings import ClassKey, ClassKeys, IdentityFields, InputPath, Settings


class ComposeSpec(Settings):
    """Composites: the object of every sample lies on another background, and so does its mask."""

    identity_fields = IdentityFields(("background", "classes"), left_out=("folder",))

    background: Literal["other_sample", "folder"]
    """`other_sample` = the sample of the next index, with its own object and mask where they are not
    covered: a batch then gives one sample less; with `splits`, the last of a shard lies on its
    first, so that no split shows samples of another. `folder` = a picture of `folder`."""
    folder: InputPath | None = None
    """Pictures of backgrounds: a folder, a tar, or shards as a brace range (`rooms-{000..011}.tar`). A
    sample's index decides which one it lies on. Paths are relative to the job's file."""
    classes: Annotated[list[ClassKey] | None, ClassKeys] = Field(None, min_length=1)
    """Classes that make up the object, by name or mask value. Empty = all but the one called
    `background`."""

    @model_validator(mode="after")
    def _has_its_folder(self) -> "ComposeSpec":
        if (self.background == "folder") != (self.folder is not None):
            raise ValueError(
                "`background: folder` needs `folder`, pictures of backgrounds"
                if self.folder is None
                else "`folder` is about `background: folder`; leave it out beside `other_sample`"
            )
        return self
