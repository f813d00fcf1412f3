"""The samples of a dataset as other tools want them: split by split, images with their masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

from factory.dataset.division import ALL_SPLITS, check_split
from factory.dataset.incomplete import tell_incomplete
from factory.dataset.near_train import NOTHING, LeftOut, find_near_train, left_out_of
from factory.dataset.samples import ReadSample, decode_sample
from factory.dataset.views import make_manifest
from factory.dataset.walk import StoredSample, explain_damage, walk_shard
from factory.errors import StoreError
from factory.manifest.paths import TRAIN, split_of
from factory.manifest.records import Manifest, ShardRecord
from factory.pack.facts import SampleFacts
from factory.pack.image import IMAGE_ENDING, decode_rgba, encode_image, flatten_on_white
from factory.spec import EncodeSpec
from factory.store import Store

BACKGROUND = "background"
"""The name of a class that counts as ground, wherever it stands among the classes."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image with its mask."""

    key: str
    split: str
    image: bytes
    """The file of the image, without alpha."""
    ending: str
    """Ending of that file: png, webp or jpg."""
    sample: ReadSample
    edited: bytes = b""
    """The file of the image after its edit; empty for a sample without."""

    @property
    def mask(self) -> UInt8[np.ndarray, "h w"]:
        """Class ids; 255 = ignore."""
        return self.sample.mask

    @property
    def instances(self) -> UInt16[np.ndarray, "h w"] | None:
        """Instance of each pixel, from 1; 0 = none."""
        return self.sample.instances

    @property
    def facts(self) -> SampleFacts:
        """The facts about the sample."""
        return self.sample.facts

    @property
    def name(self) -> str:
        """Name of the image's file."""
        return f"{self.key}.{self.ending}"

    def png(self) -> bytes:
        """The image as PNG: its own file if it is one."""
        if self.ending == "png":
            return self.image
        return encode_image(np.array(self.sample.image), EncodeSpec())


@dataclass(frozen=True, slots=True)
class Exported:
    """A dataset, or a split of it, that is exported."""

    store: Store
    manifest: Manifest
    splits: tuple[str, ...]
    left_out: LeftOut

    @property
    def num_left_out(self) -> int:
        """Number of held-out samples that are left out because they nearly repeat a training sample."""
        records = self.records()
        return sum(record.num_samples - self.left_out.num_left(record) for record in records)

    @property
    def class_names(self) -> list[str]:
        """Names of the mask classes, by class id, each on one line: other tools read lists by lines."""
        labels = self.manifest.meaning.labels
        return [" ".join(label.name.split()) or f"class_{label.id}" for label in labels]

    @property
    def ground(self) -> int:
        """The class of what is left over: the one that is called background, else class 0."""
        names = [label.name for label in self.manifest.meaning.labels]
        return names.index(BACKGROUND) if BACKGROUND in names else 0

    @property
    def is_edited(self) -> bool:
        """Whether its samples have an edited image and mask beside their own."""
        return "edit" in self.manifest.identity

    def records(self) -> list[ShardRecord]:
        """Receipts of the shards that are exported, in order."""
        return [r for r in self.manifest.records if split_of(r.path) in self.splits]

    def __iter__(self) -> Iterator[Example]:
        """Iterate over all examples, split by split."""
        for split in self.splits:
            for record in self.manifest.records_of(split):
                yield from _examples(self.store, record, split, self.left_out)


def open_export(store: Store, split: str = ALL_SPLITS, *, near_train: bool = False) -> Exported:
    """Open a dataset, or one of its splits, for export.

    Held-out samples that nearly repeat a training sample are left out unless `near_train`.

    Raises:
        JobError: If it has no such split.
        StoreError: If there is no dataset, or nothing is committed yet.
        DamageError: If the tables are missing that tell which samples are near a training sample.
    """
    manifest = make_manifest(store)
    check_split(split, manifest)
    if not manifest.records:
        raise StoreError(
            where=store.uri, found="no shard is committed yet", remedy="run the job first"
        )
    tell_incomplete(store, manifest)
    left_out = NOTHING
    if split != TRAIN and not near_train:
        left_out = left_out_of(find_near_train(store, manifest), manifest.records)
    return Exported(store, manifest, manifest.splits if split == ALL_SPLITS else (split,), left_out)


def _examples(
    store: Store, record: ShardRecord, split: str, left_out: LeftOut
) -> Iterator[Example]:
    for stored in walk_shard(store, record, left_out=left_out.of(record)):
        with explain_damage(store, record, stored.key):
            sample = decode_sample(stored, record.dataset_id)
            image = without_alpha(stored)
            edited = without_alpha(stored, "edited") if sample.edited is not None else b""
        yield Example(stored.key, split, image, stored.image_ending, sample, edited)


def without_alpha(stored: StoredSample, what: str = "image") -> bytes:
    """The file of an image, or of the `edited` one; alpha is laid on white: most tools would drop it.

    Raises:
        ValueError: If there is none, or it cannot be decoded.
    """
    ending = stored.image_ending
    data = stored.file(f"{what}.{ending}")
    rgba = decode_rgba(data)
    if rgba is None:
        return data
    image_format = next(name for name, known in IMAGE_ENDING.items() if known == ending)
    return encode_image(flatten_on_white(rgba), EncodeSpec(image=image_format))


def write_file(folder: Path, path: str, data: bytes) -> None:
    """Write a file below `folder`, whose own folder is made.

    Raises:
        OSError: If it cannot be written.
    """
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def write_lines(folder: Path, path: str, lines: Sequence[str]) -> None:
    """Write a text file of some lines below `folder`.

    Raises:
        OSError: If it cannot be written.
    """
    write_file(folder, path, "".join(f"{line}\n" for line in lines).encode())
