"""The label table `labels.json`: names of the mask classes and of the generator's classes."""

from collections.abc import Collection, Sequence
from typing import Annotated

import numpy as np
from jaxtyping import UInt8
from pydantic import ConfigDict, Field, ValidationError, model_validator

from factory.arguments import check_arguments
from factory.data import IGNORE
from factory.described import Described
from factory.errors import DamageError, JobError, count_problems
from factory.manifest.versions import read_file_of

MOST_LABELS_BYTES = 2**22
"""Of a label table that is read."""


class Facts(Described):
    """Base class of the content of a dataset's files: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


Channel = Annotated[int, Field(ge=0, le=255)]
Name = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
"""A count in a file: below 2^53, which every JSON reader keeps exactly."""
Line = Annotated[str, Field(max_length=4096)]


class MaskClass(Facts):
    """One mask class."""

    id: int = Field(ge=0, lt=IGNORE)
    """Its value in the masks."""
    name: Name
    """Its name."""
    colour: tuple[Channel, Channel, Channel]
    """RGB, 0 to 255, for pictures only: masks hold ids, never colours."""


class CoarserClasses(Facts):
    """A table to read masks with fewer classes."""

    num_classes: int = Field(ge=1, lt=IGNORE)
    """Number of coarser classes, by decreasing size as in a dataset that is cut there."""
    class_of: list[Annotated[int, Field(ge=0, lt=IGNORE)]] = Field(max_length=IGNORE)
    """The coarser class of each mask class, by class id."""


class DatasetLabels(Facts):
    """The content of `labels.json`: what mask values and class numbers mean."""

    schema_version: int = 1
    """Version of this layout."""
    labels: list[MaskClass] = Field(min_length=1, max_length=IGNORE)
    """The mask classes."""
    coarser: list[CoarserClasses] = Field([], max_length=IGNORE)
    """Tables to read masks with fewer classes, few first; empty without a merge tree."""
    generator_classes: list[Name] = Field(max_length=2**16)
    """Names of the generator's classes, by `class_label` of a sample; empty if it has none."""
    attribution: Line
    """Attribution that the licence of the weights requires; empty if none."""
    license: Line
    """Licence as stated in the weights; empty if unknown."""
    fitted_on: dict[Name, int | Annotated[float, Field(allow_inf_nan=False)]] = Field(
        {}, max_length=64
    )
    """Figures about the segmenter's fit, such as a distilled head's agreement with its teacher on
    held-out images; empty if nothing was fitted."""
    instance_classes: list[Name] = Field([], max_length=2**16)
    """Names of the objects' classes, by class id; empty if the dataset has no instances."""
    doubts: list[Line] = Field([], max_length=2**12)
    """What was doubtful about the classes when the dataset was begun, a line each: one of nearly all
    pixels, in almost no image, not found again in other images, named differently by a reviewer, or
    taken away by the clean-up."""

    @model_validator(mode="after")
    def _in_order(self) -> "DatasetLabels":
        if [label.id for label in self.labels] != list(range(len(self.labels))):
            raise ValueError("labels are numbered from 0, in their order")
        for coarse in self.coarser:
            if len(coarse.class_of) != len(self.labels) or (
                max(coarse.class_of) >= coarse.num_classes
            ):
                raise ValueError("a coarser table has one class below num_classes for each label")
        return self

    @check_arguments
    def table(self, num_classes: int) -> UInt8[np.ndarray, " 256"]:
        """The lookup table for mask values that reads masks with `num_classes`: `table[mask]`.

        255 stays 255. The result is close to a mask of the coarse cut, not equal: a pixel goes to the
        coarse class of its best fine class, which need not be the best coarse class.

        Raises:
            JobError: If the masks cannot be read with so many classes.
        """
        offered = {coarse.num_classes: coarse.class_of for coarse in self.coarser}
        offered[len(self.labels)] = list(range(len(self.labels)))
        if num_classes not in offered:
            allowed = ", ".join(map(str, sorted(offered)))
            raise JobError(
                where="num_classes",
                found=f"found {num_classes}",
                allowed=f"these masks can be read with {allowed}",
            )
        table = np.full(256, IGNORE, dtype=np.uint8)
        table[: len(self.labels)] = offered[num_classes]
        return table


def find_class(written: int | str, labels: Sequence[MaskClass], *, where: str) -> int:
    """The id of the class that a setting names by mask value or by name.

    Raises:
        JobError: If there is none. `where` is the setting.
    """
    return find_classes([written], labels, where=where)[0]


def find_classes(
    written: Collection[int | str], labels: Sequence[MaskClass], *, where: str
) -> list[int]:
    """The ids of the classes that a setting names by mask value or by name.

    Raises:
        JobError: If some do not exist; it names them all. `where` is the setting.
    """
    ids = {label.name: label.id for label in labels}
    found = {one: ids.get(one, -1) if isinstance(one, str) else one for one in written}
    strange = [str(one) for one, class_id in found.items() if not 0 <= class_id < len(labels)]
    if strange:
        raise JobError(
            f"{where}: found {'class' if len(strange) == 1 else 'classes'} {' and '.join(strange)}; "
            f"the segmenter has classes 0 to {len(labels) - 1}: {', '.join(ids)}"
        )
    return [found[one] for one in written]


def encode_labels(labels: DatasetLabels) -> bytes:
    """Encode `labels.json`."""
    return (labels.model_dump_json(indent=1) + "\n").encode()


def read_labels(data: bytes, *, source: str) -> DatasetLabels:
    """Parse `labels.json`. `source` names it in errors.

    Raises:
        DamageError: If it is not a label table.
        StoreError: If a newer version wrote it.
    """
    if len(data) > MOST_LABELS_BYTES:  # every command would look through them for seconds
        raise DamageError(
            f"{source}: {len(data):,} bytes; a label table has at most {MOST_LABELS_BYTES:,}; delete it "
            "and run the job again: it is written anew"
        )
    try:
        return read_file_of(DatasetLabels, data, source=source)
    except ValidationError as error:
        raise DamageError(
            f"{source}: not a label table ({count_problems(error.error_count())}); delete it and run "
            "the job again: it is written anew"
        ) from error
