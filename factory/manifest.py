"""What was made: the record of each shard, and the manifest that gathers them in order.

A receipt (one JSON file per shard) is the commit point and the truth; the manifest is a view of all
receipts that can be rebuilt at any time. It knows nothing of stores.
"""

import json
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pydantic import BaseModel, ConfigDict, ValidationError

from factory.coverage import Coverage
from factory.data import IGNORE
from factory.errors import JobError, StoreError


class Facts(BaseModel):
    """What a file of ours states: every key known, nothing changed after."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ClassLabel(Facts):
    """One class of the masks."""

    id: int
    """Its value in the masks."""
    name: str
    """Its name."""
    colour: tuple[int, int, int]
    """RGB, 0 to 255, for pictures only: masks hold ids, never colours."""


class CoarserLabels(Facts):
    """Fewer classes that the same masks can be read with."""

    num_classes: int
    """How many there are, by decreasing size as in a dataset cut there."""
    class_of: list[int]
    """The coarser class of each class of the masks, by class id."""


class DatasetLabels(Facts):
    """What the samples' numbers mean, as kept in `labels.json`."""

    schema_version: int = 1
    """Version of this layout."""
    labels: list[ClassLabel]
    """Classes of the masks."""
    coarser: list[CoarserLabels] = []
    """Fewer classes that the masks can be read with, few first; empty without a merge tree."""
    generator_classes: list[str]
    """Names of the generator's classes, by `class_label`; empty if it has none."""
    attribution: str
    """Line that must go with the images, from the generator's weights; empty if none."""
    license: str
    """Licence of the weights as they state it; empty if unknown."""
    fitted_on: dict[str, int | float] = {}
    """Numbers about the segmenter's fit, such as a distilled head's agreement with its teacher on
    held-out images; empty if nothing was fitted."""
    instance_classes: list[str] = []
    """Names of the objects' classes, by class id; empty if the dataset has no instances."""

    def table(self, num_classes: int) -> UInt8[np.ndarray, " 256"]:
        """What to look up mask values in, to read them with `num_classes`: `table[mask]`.

        255 stays 255. The pixels are those whose fine class lies in the coarse one, which is not
        quite a mask made with the coarse planes: where several fine classes compete, another may win.

        Raises:
            JobError: If the masks cannot be read with so many classes.
        """
        offered = {coarse.num_classes: coarse.class_of for coarse in self.coarser}
        offered[len(self.labels)] = list(range(len(self.labels)))
        if num_classes not in offered:
            allowed = ", ".join(map(str, sorted(offered)))
            raise JobError(
                f"num_classes: found {num_classes}; these masks can be read with {allowed}"
            )
        table = np.full(256, IGNORE, dtype=np.uint8)
        table[: len(self.labels)] = offered[num_classes]
        return table


class ShardRecord(Facts):
    """The facts about one committed shard, as kept in `receipts/RRRR/NNNNNN.json`."""

    schema_version: int = 2
    """Version of this layout; version 1 had no `coverage`."""
    dataset_id: str
    """The dataset the shard belongs to."""
    round_index: int
    """The plan round that asked for it."""
    shard_index: int
    """Its position in the dataset."""
    path: str
    """The tar, relative to the dataset's root."""
    first_index: int
    """First sample index of the range it owns."""
    num_indices: int
    """Length of that range."""
    num_samples: int
    """Samples in the tar."""
    num_rejected: dict[str, int]
    """Samples that were made and not kept, by reason."""
    num_members: int
    """Files in the tar."""
    size_bytes: int
    """Size of the tar."""
    sha256: str
    """SHA-256 of the tar."""
    class_images: list[int]
    """Samples that hold each class, by class id."""
    class_px: list[int]
    """Pixels of each class, by class id."""
    ignore_px: int = 0
    """Pixels of no class (mask value 255)."""
    confidence: list[float]
    """Quantiles 0, 0.05, 0.5, 0.95, 1 of the samples' mean mask confidence."""
    wall_s: float
    """Seconds from the task's start to its commit."""
    generate_s: float
    """Seconds of that spent in the generator and the segmenter."""
    device: str
    """What computed it."""
    worker: str
    """Host and process that made it."""
    run_id: str
    """The run that made it."""
    versions: dict[str, str]
    """Versions of the libraries that decide bytes."""
    finished_at: str
    """UTC time of the commit, ISO 8601."""
    coverage: Coverage | None = None
    """What its samples cover, in counts that add up over shards; null if nobody counted."""


class Manifest(Facts):
    """Everything that is known about a dataset, records in shard order."""

    schema_version: int = 1
    """Version of this layout."""
    name: str
    """The dataset's name."""
    dataset_id: str
    """Digest of its identity."""
    identity: dict[str, Any]
    """What the dataset is: the job's `dataset` section with digests of weights and segmenter."""
    meaning: DatasetLabels
    """What the samples' numbers mean."""
    num_planned: int
    """Samples asked for."""
    single_writer: bool = False
    """The output's store does not create exclusively: one run at a time wrote to it."""
    records: list[ShardRecord]
    """Committed shards."""

    @property
    def num_samples(self) -> int:
        """Samples committed."""
        return sum(record.num_samples for record in self.records)


def receipt_path(round_index: int, shard_index: int) -> str:
    """Where the receipt of a shard lies."""
    return f"receipts/{round_index:04d}/{shard_index:06d}.json"


def encode_labels(labels: DatasetLabels) -> bytes:
    """The bytes of `labels.json`."""
    return (labels.model_dump_json(indent=1) + "\n").encode()


def read_labels(data: bytes, *, source: str) -> DatasetLabels:
    """Parse `labels.json`. `source` names it in errors.

    Raises:
        StoreError: If it is not one of this version.
    """
    try:
        return DatasetLabels.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"{source}: not a label table ({error.error_count()} problems); delete it and run the "
            "job again: it is written anew"
        ) from error


def encode_record(record: ShardRecord) -> bytes:
    """A receipt's bytes: JSON with one line for each fact."""
    facts = record.model_dump(mode="json").items()
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in facts]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def read_record(data: bytes, *, source: str) -> ShardRecord:
    """Parse a receipt. `source` names it in errors.

    Raises:
        StoreError: If it is not a receipt of this version.
    """
    try:
        return ShardRecord.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"{source}: not a receipt ({error.error_count()} problems); delete it and run the job "
            "again: its shard is checked and the receipt written anew"
        ) from error


LABELS_PATH = "labels.json"
MANIFEST_PATH = "manifest.parquet"
