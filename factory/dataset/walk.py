"""The one walk over the samples of committed shards. Everything that reads a dataset reads it here.

What is yielded is what the receipt promises: whole tars, keys that lie in the shard's range and
ascend, files with names that we write, as many samples as were committed. Anything else is damage.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from factory.errors import DamageError
from factory.identity import sample_key
from factory.manifest.records import ShardRecord
from factory.pack.image import IMAGE_ENDING
from factory.pack.tar import Member, list_members, read_member
from factory.store import Store

IMAGE_FILES = tuple(f"image.{ending}" for ending in IMAGE_ENDING.values())
"""What follows the key in the name of a sample's image, by format."""

MASK_FILE, CONFIDENCE_FILE, INSTANCES_FILE, FACTS_FILE = (
    "mask.png",
    "confidence.png",
    "instances.png",
    "json",
)
SAMPLE_FILES = (*IMAGE_FILES, MASK_FILE, CONFIDENCE_FILE, INSTANCES_FILE, FACTS_FILE)
"""Every ending that a file of a sample may have."""


@dataclass(frozen=True, slots=True)
class StoredSample:
    """The files of one sample, as they lie in its shard."""

    key: str
    """Its key: nine digits."""
    files: dict[str, bytes]
    """Bytes by ending, such as `mask.png`; those that were asked for and are there."""

    @property
    def image(self) -> bytes:
        """Its image file.

        Raises:
            ValueError: If it has none.
        """
        return self.files[f"image.{self.image_ending}"]

    @property
    def image_ending(self) -> str:
        """The format of its image file, as in `IMAGE_ENDING`.

        Raises:
            ValueError: If it has none.
        """
        for ending in IMAGE_ENDING.values():
            if f"image.{ending}" in self.files:
                return ending
        raise ValueError(f"sample {self.key} has no image")

    def file(self, ending: str) -> bytes:
        """The file with this ending.

        Raises:
            ValueError: If it has none.
        """
        if ending not in self.files:
            raise ValueError(f"sample {self.key} has no {ending}")
        return self.files[ending]


def walk_shards(
    store: Store, records: Iterable[ShardRecord], endings: Sequence[str] = SAMPLE_FILES
) -> Iterator[StoredSample]:
    """Every sample of some shards, in their order; see `walk_shard`."""
    for record in records:
        yield from walk_shard(store, record, endings)


def walk_shard(
    store: Store, record: ShardRecord, endings: Sequence[str] = SAMPLE_FILES
) -> Generator[StoredSample, None, None]:
    """The samples of a committed shard, in order, with their files that have one of `endings`.

    Bytes of other files are skipped, not read.

    Raises:
        DamageError: If the shard is missing or is not what its receipt says; what was yielded before
            is whole.
    """
    with fetch_shard(store, record) as path, explain_damage(store, record), path.open("rb") as file:
        for key, members in list_samples(file, record).items():
            yield StoredSample(
                key,
                {e: read_member(file, m) for e, m in members.items() if e in endings},
            )


@contextmanager
def fetch_shard(store: Store, record: ShardRecord) -> Iterator[Path]:
    """A local path with the bytes of a committed shard, while the context lasts.

    Raises:
        DamageError: If it is missing.
    """
    with store.fetch(record.path) as path:
        if path is None:
            raise DamageError(
                f"{store.uri}/{record.path}: missing, though its receipt is there; restore it, or "
                f"`factory repair {store.uri}` takes the receipt back and the next run makes it again"
            )
        yield path


@contextmanager
def explain_damage(store: Store, record: ShardRecord) -> Iterator[None]:
    """What cannot be decoded is damage of this shard.

    Raises:
        DamageError: In place of a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise DamageError(
            f"{store.uri}/{record.path}: damaged ({error}); `factory repair {store.uri}` takes it out "
            "and the next run makes it again"
        ) from error


def list_samples(file: BinaryIO, record: ShardRecord) -> dict[str, dict[str, Member]]:
    """Where the files of a shard's samples lie, by key and ending, from its headers alone.

    Raises:
        ValueError: If it is not a tar of ours with the samples that its receipt promises.
    """
    samples: dict[str, dict[str, Member]] = {}
    last = ""
    for member in list_members(file):
        key, _, ending = member.name.partition(".")
        if ending not in SAMPLE_FILES:
            raise ValueError(f"{member.name!r} is no name of a sample's file")
        if key != last:
            _check_key(key, last, record)
            last = key
            samples[key] = {}
        if ending in samples[key]:
            raise ValueError(f"{member.name} is there twice")
        samples[key][ending] = member
    if len(samples) != record.num_samples:
        raise ValueError(f"it holds {len(samples)} samples, its receipt says {record.num_samples}")
    return samples


def _check_key(key: str, last: str, record: ShardRecord) -> None:
    """Keys become names of files elsewhere: one that is not ours goes no further."""
    index = int(key) if key.isascii() and key.isdigit() and len(key) < 20 else -1
    if index < 0 or key != sample_key(index):
        raise ValueError(f"{key!r} is no sample key")
    if not 0 <= index - record.first_index < record.num_indices:
        raise ValueError(f"sample {key} lies outside of the range of its shard")
    if key <= last:
        raise ValueError(f"sample {key} comes after {last}; keys ascend")
