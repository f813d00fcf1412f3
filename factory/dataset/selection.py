"""The samples that a reader reads: a split of a dataset, without those that it leaves out."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from factory.dataset.division import (
    ALL_SPLITS,
    Piece,
    check_number,
    check_split,
    cut,
    group_pieces,
    mix,
)
from factory.dataset.near_train import NOTHING, LeftOut, find_near_train, left_out_of
from factory.dataset.samples import ReadSample, decode_sample
from factory.dataset.shard_cache import ShardCache
from factory.dataset.walk import StoredSample, explain_damage, open_shard
from factory.errors import JobError
from factory.manifest.paths import TRAIN
from factory.manifest.records import Manifest, ShardRecord
from factory.store import Store

_MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Selection:
    """A split, or all of them."""

    whole: Manifest
    """The manifest of the whole dataset."""
    split: str
    """Name of the split, or `all`."""
    left_out: LeftOut
    """Samples of the split that are not read."""

    @property
    def manifest(self) -> Manifest:
        """The manifest with the records of this split alone."""
        if self.split == ALL_SPLITS:
            return self.whole
        return self.whole.model_copy(update={"records": self.whole.records_of(self.split)})

    @property
    def name(self) -> str:
        """Its name in messages; empty for a dataset that is not divided."""
        return "" if self.whole.splits == (TRAIN,) else self.split

    def restrict(self, where: pc.Expression | None) -> pc.Expression | None:
        """A condition on rows of facts, or none, that also leaves out what is not read."""
        indices = [index for inside in self.left_out.indices.values() for index in inside]
        if not indices:
            return where
        others = ~pc.field("index").isin(pa.array(sorted(indices), pa.int64()))
        return others if where is None else others & where


@dataclass(frozen=True, slots=True)
class Span:
    """A range of the samples of an epoch."""

    first: int
    """Position of its first sample in the epoch."""
    end: int
    """One past the position of its last one."""
    skip: int = 0
    """Samples to leave out, in the order of reading; shards without others are not opened."""


def select(store: Store, whole: Manifest, split: str, *, near_train: bool) -> Selection:
    """Select a split; held-out samples that are near a training sample belong to it if `near_train`.

    Raises:
        JobError: If the dataset has no such split.
        DamageError: If the tables are missing that tell which samples are near a training sample.
    """
    check_split(split, whole)
    if split == TRAIN or near_train:
        return Selection(whole, split, NOTHING)
    return Selection(whole, split, left_out_of(find_near_train(store, whole), whole.records))


def read_range(
    store: Store,
    chosen: Selection,
    span: Span,
    order: Sequence[int],
    shuffle: tuple[int, int] | None,
    cache: ShardCache,
) -> Iterator[ReadSample]:
    """Iterate over a range of the samples of an epoch.

    Args:
        store: The dataset's store.
        chosen: What is read.
        span: The range.
        order: The shards' positions, in the order of the epoch.
        shuffle: Seed and epoch of the shuffle within groups of shards; None = no shuffle.
        cache: Copies of shards from a bucket, and those that were compared with their receipts.

    Raises:
        JobError: If `order` has a position without a shard, or no order has that seed and epoch.
        DamageError: If a shard is missing or damaged.
    """
    records = chosen.manifest.records
    if not all(0 <= shard < len(records) for shard in order):
        allowed = f"positions of the {len(records):,} shards"
        raise JobError(where="order", found=f"found {list(order)}"[:_MOST_SHOWN], allowed=allowed)
    seed, epoch = shuffle or (0, 0)
    check_number("epoch", epoch)
    check_number("seed", seed)
    check_number("skip", span.skip)
    pieces = cut(
        [chosen.left_out.num_left(record) for record in records], order, span.first, span.end
    )
    skip = span.skip
    groups = [[piece] for piece in pieces]
    if shuffle is not None:
        groups = list(group_pieces(pieces, [record.size_bytes for record in records]))
    for group in groups:
        places = [(0, position) for position in range(group[0].first, group[0].end)]
        if shuffle is not None:
            places = mix(group, seed=seed, epoch=epoch)
        rest = places[skip:]
        skip -= len(places) - len(rest)
        if rest:
            yield from _read_group(store, chosen, records, group, rest, cache)


def _read_group(
    store: Store,
    chosen: Selection,
    records: Sequence[ShardRecord],
    group: Sequence[Piece],
    places: Sequence[tuple[int, int]],
    cache: ShardCache,
) -> Iterator[ReadSample]:
    inside = [records[piece.shard] for piece in group]
    with ExitStack() as stack:
        shards = [
            stack.enter_context(open_shard(store, record, cache, chosen.left_out.of(record)))
            for record in inside
        ]
        for i, position in places:
            yield decode_stored(store, inside[i], shards[i].read(position))


def decode_stored(store: Store, record: ShardRecord, stored: StoredSample) -> ReadSample:
    """Decode a sample of a shard.

    Raises:
        DamageError: If its files are missing or damaged, or do not belong together.
    """
    with explain_damage(store, record, stored.key):
        return decode_sample(stored, record.dataset_id)
