"""Held-out samples that nearly repeat a training sample: found by the perceptual hashes of all samples.

A network that saw a picture is not judged by nearly the same picture. Which pictures repeat is known
only once all are made, and changes as a dataset grows; so it is a view, derived from the tables of the
committed shards, and no sample is moved or removed.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt64

from factory.dataset.facts_table import read_facts_tables
from factory.errors import Problem
from factory.manifest.measure import MIN_HASHED_HEIGHT, MIN_HASHED_WIDTH
from factory.manifest.parquet import encode_table, read_table
from factory.manifest.paths import NEAR_TRAIN_PATH, SPLITS, TRAIN, split_of
from factory.manifest.records import Manifest, ShardRecord
from factory.store import Store

NEAR_BITS = 4
"""Samples are near if their hashes differ in at most so many of 64 bits."""

_BAND_BITS = 13
_PAIRS_AT_ONCE = 2**22
_SHARDS_AT_ONCE = 256
_MADE_FROM = b"made_from"
_SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64()),
        pa.field("split", pa.string()),
        pa.field("train_index", pa.int64()),
        pa.field("bits", pa.int8()),
    ]
)


@dataclass(frozen=True, slots=True)
class NearTrain:
    """The held-out samples that are near a training sample, in order."""

    table: pa.Table
    """A row each: `index`, `split`, `train_index` (the nearest one; of equals the first), `bits`."""

    def count(self, split: str) -> int:
        """Number of such samples in a split."""
        return sum(name == split for name in self.table["split"].to_pylist())

    def by_shard(self, records: Sequence[ShardRecord]) -> dict[str, frozenset[int]]:
        """Their sample indices, by path of the shard; shards without any are left out."""
        found: dict[str, set[int]] = defaultdict(set)
        indices = np.sort(self.table["index"].to_numpy())
        for record in records:
            end = record.first_index + record.num_indices
            first, last = np.searchsorted(indices, [record.first_index, end])
            if first < last:
                found[record.path].update(indices[first:last].tolist())
        return {path: frozenset(inside) for path, inside in found.items()}


NONE_NEAR = NearTrain(_SCHEMA.empty_table())
"""No held-out sample is near a training sample."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Samples that a reader leaves out."""

    indices: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Sample indices, by path of the shard."""

    def of(self, record: ShardRecord) -> frozenset[int]:
        """Those of a shard."""
        return self.indices.get(record.path, frozenset())

    def num_left(self, record: ShardRecord) -> int:
        """Number of the other samples of a shard."""
        return record.num_samples - len(self.of(record))


NOTHING = LeftOut()
"""Leaves out no sample."""


def left_out_of(near: NearTrain, records: Sequence[ShardRecord]) -> LeftOut:
    """Leave the samples that are near a training sample out of these shards."""
    return LeftOut(near.by_shard(records))


def find_near_train(store: Store, manifest: Manifest) -> NearTrain:
    """Which held-out samples are near a training sample: read, or computed if shards came since.

    Raises:
        DamageError: If the table of a shard is missing or damaged.
    """
    if manifest.splits == (TRAIN,):
        return NONE_NEAR
    stored = _read(store, _digest(manifest))
    return stored or compute_near_train(store, manifest)


def compute_near_train(store: Store, manifest: Manifest) -> NearTrain:
    """Compare the hashes of all held-out samples with those of all training samples.

    Raises:
        DamageError: If the table of a shard is missing or damaged.
    """
    train_indices, train_hashes = _hashes(store, _records_of(manifest, TRAIN))
    tables = []
    for split in SPLITS[1:]:
        indices, hashes = _hashes(store, _records_of(manifest, split))
        nearest, bits = find_near(hashes, train_hashes)
        is_near = bits <= NEAR_BITS
        columns = [
            indices[is_near],
            [split] * int(is_near.sum()),
            train_indices[nearest[is_near]],
            bits[is_near].astype(np.int8),
        ]
        tables.append(pa.table(columns, schema=_SCHEMA))
    table = pa.concat_tables(tables).sort_by("index").combine_chunks()
    return NearTrain(table.replace_schema_metadata({_MADE_FROM: _digest(manifest).encode()}))


def encode_near_train(near: NearTrain) -> bytes:
    """Encode the view."""
    return encode_table(near.table)


def find_near_problem(store: Store, manifest: Manifest) -> Problem | None:
    """Compare the view with the tables of the shards it was made from; None if it agrees.

    A view of fewer shards than there are is no problem: the end of each run writes it again.
    """
    if manifest.splits == (TRAIN,):
        return None
    stored = _read(store, _digest(manifest))
    if stored is None and _made_from(store) != _digest(manifest):
        return None
    if stored is not None and stored.table.equals(compute_near_train(store, manifest).table):
        return None
    found = "not what the hashes of the samples give"
    remedy = "`factory repair` removes it, and the next run writes it anew"
    return Problem(NEAR_TRAIN_PATH, "outdated", found, remedy)


def find_near(
    hashes: UInt64[np.ndarray, " n"], others: UInt64[np.ndarray, " m"]
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The position of the nearest of `others` for each hash, and the number of bits that differ.

    Only pairs that differ in at most 4 bits are found; the others have 65 bits, and position 0. Of 5
    parts of the hash at least one is equal in such a pair, so that only pairs with an equal part are
    compared (Manku et al. 2007, "Detecting near-duplicates for web crawling", section 3).
    """
    nearest = np.zeros(len(hashes), dtype=np.int64)
    bits = np.full(len(hashes), 65, dtype=np.int64)
    own, place = np.unique(hashes, return_inverse=True)
    base, first = np.unique(others, return_index=True)
    best = np.full(len(own), 65 * (len(others) + 1), dtype=np.int64)
    for shift in range(0, 64, _BAND_BITS):
        for left, right in _pairs(_band(own, shift), _band(base, shift)):
            differ = np.bitwise_count(own[left] ^ base[right]).astype(np.int64)
            close = differ <= NEAR_BITS
            # One number for both: the fewest bits, and of equals the earliest position.
            np.minimum.at(
                best, left[close], differ[close] * (len(others) + 1) + first[right[close]]
            )
    found = best[place]
    is_near = found < 65 * (len(others) + 1)
    bits[is_near], nearest[is_near] = np.divmod(found[is_near], len(others) + 1)
    return nearest, bits


def find_repeats(hashes: UInt64[np.ndarray, " n"]) -> set[int]:
    """Positions of hashes that differ in at most 4 bits from an earlier one that is kept."""
    own, first = np.unique(hashes, return_index=True)
    repeats = set(range(len(hashes))) - set(first.tolist())
    near: dict[int, set[int]] = defaultdict(set)
    for shift in range(0, 64, _BAND_BITS):
        band = _band(own, shift)
        for left, right in _pairs(band, band):
            a, b = first[left], first[right]
            close = (a < b) & (np.bitwise_count(own[left] ^ own[right]) <= NEAR_BITS)
            for earlier, later in zip(a[close].tolist(), b[close].tolist(), strict=True):
                near[later].add(earlier)
    for later in sorted(near):
        if near[later] - repeats:
            repeats.add(later)
    return repeats


def _band(hashes: UInt64[np.ndarray, " n"], shift: int) -> UInt64[np.ndarray, " n"]:
    band: np.ndarray = (hashes >> np.uint64(shift)) & np.uint64(2**_BAND_BITS - 1)
    return band


def _pairs(
    left: UInt64[np.ndarray, " n"], right: UInt64[np.ndarray, " m"]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The positions of all pairs of equal values, a few million at once."""
    order = np.argsort(right, kind="stable")
    values = right[order]
    begin = np.searchsorted(values, left, "left")
    counts = np.searchsorted(values, left, "right") - begin
    first = 0
    while first < len(left):
        ends = np.cumsum(counts[first:])
        num = max(1, int(np.searchsorted(ends, _PAIRS_AT_ONCE, "right")))
        some = counts[first : first + num]
        owners = np.repeat(np.arange(first, first + num), some)
        offset = np.arange(len(owners)) - np.repeat(np.cumsum(some) - some, some)
        yield owners, order[begin[owners] + offset]
        first += num


def _hashes(store: Store, records: Iterable[ShardRecord]) -> tuple[np.ndarray, np.ndarray]:
    """Indices and hashes of the samples of some shards; without those that are too small to hash."""
    parts = [_hashes_of(store, batch) for batch in _batches(records)]
    indices = [np.zeros(0, dtype=np.int64), *(part[0] for part in parts)]
    return np.concatenate(indices), np.concatenate(
        [np.zeros(0, dtype=np.uint64), *(part[1] for part in parts)]
    )


def _hashes_of(store: Store, records: Sequence[ShardRecord]) -> tuple[np.ndarray, np.ndarray]:
    table = read_facts_tables(store, records, ["index", "dhash", "width", "height"])
    rows = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    known = [
        (index, int(dhash, 16))
        for index, dhash, width, height in rows
        if dhash and width >= MIN_HASHED_WIDTH and height >= MIN_HASHED_HEIGHT
    ]
    indices = np.array([index for index, _ in known], dtype=np.int64)
    return indices, np.array([number for _, number in known], dtype=np.uint64)


def _records_of(manifest: Manifest, split: str) -> Iterator[ShardRecord]:
    return (record for record in manifest.records if split_of(record.path) == split)


def _batches(records: Iterable[ShardRecord]) -> Iterator[list[ShardRecord]]:
    left = iter(records)
    while batch := list(islice(left, _SHARDS_AT_ONCE)):
        yield batch


def _digest(manifest: Manifest) -> str:
    """Which shards a view is made from."""
    digest = hashlib.sha256()
    for record in manifest.records:
        digest.update(f"{record.path} {record.sha256}\n".encode())
    return digest.hexdigest()


def _load(store: Store) -> pa.Table | None:
    data = store.read(NEAR_TRAIN_PATH)
    try:
        return None if data is None else read_table(data, most_rows=10**9)
    except (pa.ArrowException, OSError, ValueError):
        return None


def _made_from(store: Store) -> str:
    table = _load(store)
    return "" if table is None else (table.schema.metadata or {}).get(_MADE_FROM, b"").decode()


def _read(store: Store, digest: str) -> NearTrain | None:
    """The stored view, if it is one of these shards."""
    table = _load(store)
    if table is None or (table.schema.metadata or {}).get(_MADE_FROM, b"") != digest.encode():
        return None
    if not table.schema.equals(_SCHEMA) or table["index"].null_count:
        return None
    return NearTrain(table)
