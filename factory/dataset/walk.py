"""Iterate over the samples of committed shards, with validation. All readers of datasets use it.

A shard must have the size and SHA-256 of its receipt, ascending keys in its index range, known file
names, and as many samples as were committed. Otherwise a `DamageError` is raised before the first
sample is returned.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from factory.dataset.shard_cache import ShardCache
from factory.errors import DamageError, Problem
from factory.identity import digest_of_file, sample_key
from factory.manifest.records import ShardRecord
from factory.pack.image import IMAGE_ENDING
from factory.pack.tar import Member, list_members, read_member
from factory.store import Store
from factory.store.failures import explain_os_error

IMAGE_FILES = tuple(f"image.{ending}" for ending in IMAGE_ENDING.values())
"""Endings of a sample's image file, after the key."""

MASK_FILE, CONFIDENCE_FILE, ALPHA_FILE, INSTANCES_FILE, FACTS_FILE = (
    "mask.png",
    "confidence.png",
    "alpha.png",
    "instances.png",
    "json",
)
EDITED_FILES = tuple(f"edited.{ending}" for ending in IMAGE_ENDING.values())
"""Endings of the image after an edit."""

EDITED_MASK_FILE = "edited_mask.png"
SAMPLE_FILES = (
    *(*IMAGE_FILES, MASK_FILE, CONFIDENCE_FILE, ALPHA_FILE, INSTANCES_FILE),
    *(*EDITED_FILES, EDITED_MASK_FILE, FACTS_FILE),
)
"""All endings of a sample's files."""


@dataclass(frozen=True, slots=True)
class StoredSample:
    """The encoded files of one sample."""

    key: str
    """The sample index as nine digits."""
    files: dict[str, bytes]
    """Bytes by ending, such as `mask.png`: those of the requested files that exist."""

    @property
    def image(self) -> bytes:
        """The bytes of its image file.

        Raises:
            ValueError: If it has none.
        """
        return self.files[f"image.{self.image_ending}"]

    @property
    def image_ending(self) -> str:
        """The ending of its image file, as in `IMAGE_ENDING`.

        Raises:
            ValueError: If it has none.
        """
        for ending in IMAGE_ENDING.values():
            if f"image.{ending}" in self.files:
                return ending
        raise ValueError("it has no image")

    def file(self, ending: str) -> bytes:
        """The bytes of the file with this ending.

        Raises:
            ValueError: If it has none.
        """
        if ending not in self.files:
            raise ValueError(f"it has no {ending}")
        return self.files[ending]


class OpenShard:
    """An open, validated shard: samples can be read in any order. Not thread-safe."""

    def __init__(self, file: BinaryIO, samples: dict[str, dict[str, Member]]) -> None:
        """Wrap an open tar; `samples` is the result of `list_samples`."""
        self._file = file
        self._samples = list(samples.items())

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._samples)

    def places(self) -> dict[str, dict[str, Member]]:
        """Where each file of each sample lies in the tar, by key and ending."""
        return dict(self._samples)

    def read(self, position: int, endings: Sequence[str] = SAMPLE_FILES) -> StoredSample:
        """Read the files with one of `endings` of the sample at `position`, from 0."""
        key, members = self._samples[position]
        files = {e: read_member(self._file, m) for e, m in members.items() if e in endings}
        return StoredSample(key, files)


def walk_shard(
    store: Store,
    record: ShardRecord,
    endings: Sequence[str] = SAMPLE_FILES,
    left_out: frozenset[int] = frozenset(),
) -> Iterator[StoredSample]:
    """Iterate over the samples of a committed shard, with the files of `endings`; others are not read.

    The samples with an index of `left_out` are skipped.

    Raises:
        DamageError: If the shard is missing, or differs from its receipt.
        StoreError: If it cannot be read.
    """
    with open_shard(store, record, left_out=left_out) as shard:
        for position in range(len(shard)):
            yield shard.read(position, endings)


@contextmanager
def open_shard(
    store: Store,
    record: ShardRecord,
    cache: ShardCache | None = None,
    left_out: frozenset[int] = frozenset(),
) -> Iterator[OpenShard]:
    """Context manager that opens a committed shard, after comparing its SHA-256 with its receipt.

    Args:
        store: The dataset's store.
        record: The shard's receipt.
        cache: Copies of shards, and those that were compared before and are not digested again.
        left_out: Indices of samples that it is opened without.

    Raises:
        DamageError: If the shard is missing, or differs from its receipt.
        StoreError: If it cannot be read.
    """
    known = cache or ShardCache()
    copy = known.open(store, record)
    with nullcontext(copy) if copy else _open_stored(store, record, known.compared) as file:
        known.compared.add(record.path)
        with file:
            with explain_damage(store, record):
                samples = list_samples(file, record)
            for index in left_out:
                samples.pop(sample_key(index), None)
            yield OpenShard(file, samples)


@contextmanager
def _open_stored(store: Store, record: ShardRecord, compared: set[str]) -> Iterator[BinaryIO]:
    with store.fetch(record.path) as path:
        try:
            problem = None if path and record.path in compared else find_change(record, path)
            if problem is not None:
                raise damage(store, problem)
            assert path is not None  # else there is a problem
            file = path.open("rb")
        except OSError as error:
            raise explain_os_error(path or Path(record.path), error) from error
        yield file


def find_change(record: ShardRecord, tar: Path | None) -> Problem | None:
    """Compare a shard's size and SHA-256 with its receipt; None if they are equal.

    Raises:
        OSError: If they cannot be read.
    """
    problem = find_change_of_size(record, None if tar is None else tar.stat().st_size)
    if tar is None or problem is not None:
        return problem
    digest = digest_of_file(tar)
    if digest == record.sha256:
        return None
    found = f"sha256 {digest[:16]}, its receipt says {record.sha256[:16]}"
    return Problem(record.path, "changed", found)


def find_change_of_size(record: ShardRecord, size_bytes: int | None) -> Problem | None:
    """Compare a shard's size (None = missing) with its receipt; None if it is equal."""
    return change_of_size(record.path, record.size_bytes, size_bytes)


def change_of_size(path: str, told: int, found: int | None) -> Problem | None:
    """The problem of a shard whose receipt tells one size and whose file has another, or is missing."""
    if found is None:
        return Problem(path, "missing", "missing, though its receipt is there")
    if found == told:
        return None
    return Problem(path, "changed", f"{found} bytes, its receipt says {told}")


def damage(store: Store, problem: Problem) -> DamageError:
    """Make the error of a reader that finds `problem` in a committed shard."""
    repair = f"`factory repair {store.uri}`"
    if problem.kind == "missing":
        found = problem.found
        remedy = f"restore it, or {repair} takes the receipt back and the next run makes it again"
    else:
        found = f"damaged ({problem.finding})"
        remedy = f"{repair} takes it out and the next run makes it again"
    where = f"{store.uri}/{problem.path}"
    return DamageError(where=where, found=found, remedy=remedy, problems=(problem,))


@contextmanager
def explain_damage(store: Store, record: ShardRecord, key: str = "") -> Iterator[None]:
    """Context manager that turns decoding errors into damage of a shard, or of the sample `key` in it.

    Raises:
        DamageError: In place of a ValueError.
    """
    try:
        yield
    except ValueError as error:
        problem = Problem(record.path, "contents", str(error), sample=key)
        raise damage(store, problem) from error


def record_of(records: Sequence[ShardRecord], index: int) -> ShardRecord | None:
    """Find the shard that owns a sample index among `records`, which are in shard order."""
    place = bisect_right(records, index, key=attrgetter("first_index")) - 1
    if place < 0 or index >= records[place].first_index + records[place].num_indices:
        return None
    return records[place]


def list_samples(file: BinaryIO, record: ShardRecord) -> dict[str, dict[str, Member]]:
    """List the positions of a shard's files, by key and ending, from its tar headers alone.

    Raises:
        ValueError: If it is not a valid shard, or has another number of samples than its receipt.
    """
    samples: dict[str, dict[str, Member]] = {}
    last = ""
    for member in list_members(file):
        key, ending = check_name(member.name, record)
        if key != last:
            if key < last:
                raise ValueError(f"sample {key} comes after {last}; keys ascend")
            last = key
            samples[key] = {}
        if ending in samples[key]:
            raise ValueError(f"{member.name} is there twice")
        samples[key][ending] = member
    if len(samples) != record.num_samples:
        raise ValueError(f"it holds {len(samples)} samples, its receipt says {record.num_samples}")
    return samples


def check_name(name: str, record: ShardRecord) -> tuple[str, str]:
    """Split the name of a file in a shard into key and ending, and validate both.

    Callers use them as names of files, so that a name such as `../x` must not pass.

    Raises:
        ValueError: If it is not the name of a sample's file, or its sample is out of the shard's range.
    """
    key, _, ending = name.partition(".")
    if ending not in SAMPLE_FILES:
        raise ValueError(f"{name!r} is no name of a sample's file")
    index = int(key) if key.isascii() and key.isdigit() and len(key) < 20 else -1
    if index < 0 or key != sample_key(index):
        raise ValueError(f"{key!r} is no sample key")
    if not 0 <= index - record.first_index < record.num_indices:
        raise ValueError(f"sample {key} lies outside of the range of its shard")
    return key, ending
