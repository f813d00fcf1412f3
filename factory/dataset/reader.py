"""Read a dataset: `open_dataset(uri)` gives samples, facts and labels, from a folder or from S3.

Only committed shards (those with a receipt) are read: those that existed when it was opened.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt8

from factory.arguments import check_arguments
from factory.dataset.division import check_number, order_shards
from factory.dataset.facts_table import read_facts_tables
from factory.dataset.finder import Connection
from factory.dataset.notebook import describe_html, describe_text
from factory.dataset.positions import Positions
from factory.dataset.samples import ReadSample
from factory.dataset.selection import Selection, Span, decode_stored, read_range, select
from factory.dataset.shard_cache import CACHE_BYTES, ShardCache
from factory.dataset.views import make_manifest
from factory.dataset.walk import StoredSample, damage, record_of
from factory.errors import Problem
from factory.identity import is_key, sample_key
from factory.manifest.labels import MaskClass
from factory.manifest.paths import TRAIN
from factory.manifest.records import Manifest, ShardRecord
from factory.store import Store, open_store

if TYPE_CHECKING:
    from factory.dataset.torch_dataset import PairDataset


@check_arguments
def open_dataset(
    uri: str | Path, *, split: str = TRAIN, near_train: bool = False, cache_bytes: int = CACHE_BYTES
) -> "Dataset":
    """Open a split of the dataset at `uri`: a folder, `file://...` or `s3://bucket/prefix`.

    Args:
        uri: Where it is.
        split: `train`, `val` or `test`, of a dataset that was made with `dataset.splits`; `all` = every
            committed sample. A dataset without splits has `train` alone.
        near_train: Also read held-out samples that nearly repeat a training sample.
        cache_bytes: Most bytes of shards from a bucket to keep on this machine; 0 = none.

    Raises:
        JobError: If it has no such split, or `cache_bytes` is negative.
        StoreError: If there is no dataset, nothing is committed yet, or it cannot be read.
    """
    store = open_store(str(uri))
    chosen = select(store, make_manifest(store), split, near_train=near_train)
    return Dataset(store, chosen, cache_bytes)


class Dataset:
    """The committed samples of a split of a dataset, in order.

    `len(dataset)` is the number of samples; `dataset[17]`, `dataset[-1]` and `dataset["000000017"]` read
    the bytes of a single one, `dataset[:3]` a list. It can be pickled, and used by several threads and
    processes.
    """

    manifest: Manifest
    """The manifest, with one record per shard of this split."""
    split: str
    """Name of the split, or `all`."""

    def __init__(
        self, store: Store, chosen: Selection | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        """Read what is `chosen` of the dataset in `store`; by default its split for training."""
        chosen = chosen or select(store, make_manifest(store), TRAIN, near_train=False)
        self.__setstate__({"uri": store.uri, "chosen": chosen, "cache_bytes": cache_bytes})
        self._connection: Connection | None = Connection(store)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the manifest, not the store: all loader workers must divide the same shards."""
        return {"uri": self.uri, "chosen": self._chosen, "cache_bytes": self._cache.bound_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle; the store is opened at the first read."""
        self.uri, self._chosen = state["uri"], state["chosen"]
        self.split, self.manifest = self._chosen.split, self._chosen.manifest
        self._positions = Positions(self.manifest.records, self._chosen.left_out)
        self._cache = ShardCache(state["cache_bytes"])
        self._connection = None

    @check_arguments
    def of_split(self, split: str, *, near_train: bool = False) -> "Dataset":
        """Another split of the same dataset, with the shards that this one knows.

        Raises:
            JobError: If it has no such split.
            DamageError: If the tables are missing that tell which samples are near a training sample.
        """
        chosen = select(self._store, self._chosen.whole, split, near_train=near_train)
        return Dataset(self._store, chosen, self._cache.bound_bytes)

    @property
    def num_left_out(self) -> int:
        """Number of samples that are left out because they nearly repeat a training sample."""
        return self.manifest.num_samples - len(self)

    @property
    def _here(self) -> Connection:
        """The connection of this process, opened at its first read: a fork must not share sockets."""
        if self._connection is None or self._connection.process != os.getpid():
            self._connection = Connection(open_store(self.uri, is_known=True))
        return self._connection

    @property
    def _store(self) -> Store:
        return self._here.store

    @property
    def labels(self) -> list[MaskClass]:
        """The mask classes: id, name, colour."""
        return list(self.manifest.meaning.labels)

    @check_arguments
    def table(self, num_classes: int) -> UInt8[np.ndarray, " 256"]:
        """The lookup table that reads masks with fewer classes: `table[sample.mask]`.

        Raises:
            JobError: If there is no table for this number of classes; see `DatasetLabels.table`.
        """
        return self.manifest.meaning.table(num_classes)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._positions)

    @overload
    def __getitem__(self, which: SupportsIndex | str) -> ReadSample: ...

    @overload
    def __getitem__(self, which: slice) -> list[ReadSample]: ...

    @check_arguments
    def __getitem__(self, which: SupportsIndex | str | slice) -> ReadSample | list[ReadSample]:
        """Read the sample at a position (negative ones count from the end), or with a key.

        A slice reads a list of samples, each by itself; `samples` is faster for whole shards.

        Raises:
            IndexError: If the dataset has no such position.
            KeyError: If it has no sample with that key.
            JobError: If `which` is no position, key or slice of positions.
            DamageError: If the sample's shard is missing or damaged.
        """
        if isinstance(which, str):
            return self._by_key(which)
        if isinstance(which, slice):
            return [self._at(position) for position in self._positions.chosen_by(which)]
        wanted = which.__index__()
        position = wanted + len(self) if wanted < 0 else wanted
        if not 0 <= position < len(self):
            raise IndexError(f"position {wanted}: this dataset has {len(self):,} samples")
        return self._at(position)

    def _at(self, position: int) -> ReadSample:
        record, sample_index = self._positions.find(position, self._store)
        found = self._here.finder.find(record, sample_index)
        if found is None:
            listed = Problem(record.path, "contents", "not in it", sample=sample_key(sample_index))
            raise damage(self._store, listed)
        return decode_stored(self._store, record, found)

    def __contains__(self, key: object) -> bool:
        """Whether there is a sample with this key."""
        return isinstance(key, str) and self._stored(key) is not None

    def __iter__(self) -> Iterator[ReadSample]:
        """Iterate over all samples, in order."""
        return self.samples()

    @check_arguments
    def samples(
        self, split: str | None = None, *, shuffle: bool = False, seed: int = 0
    ) -> Iterator[ReadSample]:
        """Iterate over all samples once: in order, or shuffled.

        The SHA-256 of every shard is compared with its receipt before its first sample is returned.

        Args:
            split: Name of another split than the one that was opened.
            shuffle: Shards in random order, and samples shuffled within groups of up to 8 shards.
            seed: Seed of that order, which depends on it and the dataset's shards only.

        Raises:
            JobError: If there is no such split, or no order has that seed.
            DamageError: If a shard is missing or damaged.
        """
        if split not in (None, self.split):
            return self.of_split(split).samples(shuffle=shuffle, seed=seed)
        check_number("seed", seed)
        num_shards = len(self.manifest.records)
        order = order_shards(num_shards, seed=seed, epoch=0) if shuffle else range(num_shards)
        return self.read(0, len(self), order, seed=seed if shuffle else None)

    @check_arguments
    def read(
        self,
        first: int,
        end: int,
        order: Sequence[int],
        *,
        seed: int | None,
        epoch: int = 0,
        skip: int = 0,
    ) -> Iterator[ReadSample]:
        """Iterate over a range of the samples of an epoch; see `division.py`.

        Args:
            first: Position of its first sample in the epoch.
            end: One past the position of its last one.
            order: The shards' positions, in the order of the epoch.
            seed: Seed of the shuffle within groups of shards; None = no shuffle.
            epoch: Number of the epoch: each is shuffled differently.
            skip: Samples of the range to leave out, from its beginning: they were read before.

        Raises:
            JobError: If `order` has a position without a shard, or a number is out of range.
            DamageError: If a shard is missing or damaged.
        """
        span, shuffle = Span(first, end, skip), None if seed is None else (seed, epoch)
        return read_range(self._store, self._chosen, span, order, shuffle, self._cache)

    @check_arguments
    def facts(
        self, columns: Sequence[str] | None = None, *, where: pc.Expression | None = None
    ) -> pa.Table:
        """Read the facts of all samples, one row each, in order: the tables in `meta/`.

        Args:
            columns: Names of the columns; None = all.
            where: Condition on rows, such as `pc.field("confidence") > 0.4`.

        Raises:
            JobError: If the tables have no such column, or the condition does not suit them.
            DamageError: If a table is missing or damaged; `factory repair` rebuilds it.
        """
        wanted = self._chosen.restrict(where)
        return read_facts_tables(self._store, self.manifest.records, columns, wanted)

    @check_arguments
    def to_torch(
        self,
        *,
        split: str | None = None,
        shuffle: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        equal: bool = False,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> "PairDataset":
        """Make an `IterableDataset` of tensors for a DataLoader; see `PairDataset`."""
        from factory.dataset.torch_dataset import PairDataset

        chosen = self if split in (None, self.split) else self.of_split(split)
        return PairDataset(
            chosen,
            shuffle=shuffle,
            seed=seed,
            rank=rank,
            world_size=world_size,
            equal=equal,
            transform=transform,
        )

    def __repr__(self) -> str:
        """Address, number of samples and shards, and class names."""
        return describe_text(self.uri, self._chosen.name, self.manifest, len(self))

    def _repr_html_(self) -> str:
        """For notebooks: size, classes, and the contact sheet."""
        return describe_html(self._store, self.manifest, repr(self))

    def _by_key(self, key: str) -> ReadSample:
        stored = self._stored(key)
        if stored is None:
            where = f"split ({self._chosen.name})" if self._chosen.name else "dataset"
            raise KeyError(
                f"{key!r}: this {where} has no such sample; a key has nine digits, such as "
                "'000000017', and the column `key` of facts() lists them"
            )
        return decode_stored(self._store, *stored)

    def _stored(self, key: str) -> tuple[ShardRecord, StoredSample] | None:
        record = record_of(self.manifest.records, int(key)) if is_key(key) else None
        if record is None or int(key) in self._chosen.left_out.of(record):
            return None
        found = self._here.finder.find(record, int(key))
        return (record, found) if found else None
