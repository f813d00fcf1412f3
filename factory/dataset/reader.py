"""Read a dataset: `open_dataset(uri)` gives samples, facts and labels, from a folder or from S3.

It looks at receipts, so that it sees what is committed and nothing else, while a run is still adding
to it too: a dataset that was opened keeps the shards it found then.
"""

import base64
import html
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8, UInt16

from factory.dataset.open_shards import OpenShards
from factory.dataset.views import make_manifest
from factory.dataset.walk import (
    CONFIDENCE_FILE,
    FACTS_FILE,
    INSTANCES_FILE,
    MASK_FILE,
    StoredSample,
    explain_damage,
)
from factory.errors import DamageError, JobError
from factory.identity import KEY_DIGITS, counter_rng, shard_name
from factory.manifest.labels import ClassLabel
from factory.manifest.parquet import read_table
from factory.manifest.paths import CARD_PICTURE, sidecar_path
from factory.manifest.records import Manifest, ShardRecord
from factory.pack.facts import InstanceFacts, SampleFacts, read_facts
from factory.pack.image import decode_image, decode_instances, decode_mask
from factory.store import Store, open_store

if TYPE_CHECKING:
    from factory.dataset.torch_dataset import PairDataset

SPLIT = "train"
"""The one split that datasets have."""

_THREADS = 8


@dataclass(frozen=True, slots=True)
class ReadSample:
    """One sample, decoded."""

    key: str
    """Its key: the sample index, nine digits."""
    image: UInt8[np.ndarray, "h w c"]
    """RGB, 0 to 255."""
    mask: UInt8[np.ndarray, "h w"]
    """Class ids; 255 = ignore."""
    facts: SampleFacts | InstanceFacts
    """What its `KEY.json` says."""
    confidence: UInt8[np.ndarray, "h w"] | None = None
    """Confidence of each pixel times 255; None if the dataset does not keep it."""
    instances: UInt16[np.ndarray, "h w"] | None = None
    """Instance of each pixel, from 1; 0 = none. None if the dataset has no instances."""


def open_dataset(uri: str | Path) -> "Dataset":
    """The dataset at `uri`: a folder, `file://...` or `s3://bucket/prefix`.

    Raises:
        StoreError: If there is no dataset, or it cannot be read.
        DamageError: If a file that describes it is not whole.
    """
    return Dataset(open_store(str(uri)))


class Dataset:
    """The committed samples of a dataset, in order. Thread-safe; it can be pickled.

    `len(dataset)` counts samples; `dataset[position]` and `dataset["000000017"]` read one.
    """

    def __init__(self, store: Store) -> None:
        """Of the dataset in `store`."""
        self._store = store
        self.manifest: Manifest = make_manifest(store)
        """Everything that is known about the dataset, with one record per shard."""
        self._ends = list(accumulate(record.num_samples for record in self.manifest.records))
        self._shards = OpenShards(store)

    def __reduce__(self) -> tuple[object, ...]:
        """Copies, such as those of loader workers, open the dataset again."""
        return open_dataset, (self.uri,)

    @property
    def uri(self) -> str:
        """Where it lies."""
        return self._store.uri

    @property
    def labels(self) -> list[ClassLabel]:
        """The classes of the masks: id, name, colour."""
        return list(self.manifest.meaning.labels)

    def table(self, num_classes: int) -> UInt8[np.ndarray, " 256"]:
        """What to look mask values up in, to read them with fewer classes: `table[sample.mask]`.

        Raises:
            JobError: If the masks cannot be read with so many classes; see `DatasetLabels.table`.
        """
        return self.manifest.meaning.table(num_classes)

    def __len__(self) -> int:
        """Samples committed."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, which: int | str) -> ReadSample:
        """The sample at a position (negative ones count from the end), or with a key.

        Raises:
            IndexError: If the dataset has no such position.
            KeyError: If it has no sample with that key.
            DamageError: If the sample's shard is missing or damaged.
        """
        if isinstance(which, str):
            return self._by_key(which)
        position = which + len(self) if which < 0 else which
        if not 0 <= position < len(self):
            raise IndexError(f"position {which}: this dataset has {len(self):,} samples")
        return next(self.read(range(position, position + 1)))

    def __iter__(self) -> Iterator[ReadSample]:
        """Every sample, in order."""
        return self.samples()

    def samples(
        self, split: str = SPLIT, *, shuffle: bool = False, seed: int = 0
    ) -> Iterator[ReadSample]:
        """Every sample once: in order, or shards in random order and at random within each.

        Raises:
            JobError: If there is no such split.
            DamageError: If a shard is missing or damaged.
        """
        if split != SPLIT:
            raise JobError(f"split: found {split!r}; this dataset has {SPLIT!r}")
        return self.read(self.order(seed) if shuffle else range(len(self)))

    def order(self, seed: int) -> list[int]:
        """All positions at random, a shard at a time, so that each shard is opened once."""
        rng = counter_rng("reading", seed, 0)
        positions: list[int] = []
        for place in rng.permutation(len(self._ends)):
            first = self._ends[place] - self.manifest.records[place].num_samples
            positions += (first + rng.permutation(self._ends[place] - first)).tolist()
        return positions

    def read(self, positions: "range | list[int]") -> Iterator[ReadSample]:
        """The samples at `positions`, in that order; cheapest where a shard's lie together."""
        for position in positions:
            place = bisect_right(self._ends, position)
            record = self.manifest.records[place]
            within = position - (self._ends[place] - record.num_samples)
            yield self._read(record, within)

    def facts(self) -> pa.Table:
        """The facts of all samples, one row each, in order: the tables in `meta/`.

        Raises:
            DamageError: If a table is missing or damaged; `factory repair` rebuilds it.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            tables = list(pool.map(self._facts_of, self.manifest.records))
        return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})

    def to_torch(
        self,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> "PairDataset":
        """An `IterableDataset` of tensors for a DataLoader; see `PairDataset`."""
        from factory.dataset.torch_dataset import PairDataset

        return PairDataset(self, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size)

    def __repr__(self) -> str:
        """Where it lies, and how much it holds."""
        names = ", ".join(label.name for label in self.labels)
        num_shards = len(self.manifest.records)
        return f"<Dataset {self.uri}: {len(self):,} samples in {num_shards:,} shards; {names}>"

    def _repr_html_(self) -> str:
        """For notebooks: the numbers, the classes, and the contact sheet."""
        records = self.manifest.records
        total = max(sum(r.ignore_px + sum(r.class_px) for r in records), 1)
        rows = [
            f"<tr><td>{label.id}</td><td>{html.escape(label.name)}</td>"
            f"<td>{sum(r.class_px[label.id] for r in records) / total:.1%}</td></tr>"
            for label in self.labels
        ]
        picture = self._store.read(CARD_PICTURE)
        shown = ""
        if picture is not None:
            data = base64.b64encode(picture).decode()
            shown = f'<img style="max-width:100%" src="data:image/png;base64,{data}">'
        head = "<tr><th>mask value</th><th>class</th><th>pixels</th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table>{head}{''.join(rows)}</table>{shown}"

    def _by_key(self, key: str) -> ReadSample:
        if len(key) == KEY_DIGITS and key.isascii() and key.isdigit():
            for record in self.manifest.records:
                if 0 <= int(key) - record.first_index < record.num_indices:
                    with self._shards.reading(record) as shard:
                        within = shard.keys.index(key) if key in shard.members else None
                    if within is not None:
                        return self._read(record, within)
        raise KeyError(f"{key}: this dataset has no such sample; keys are nine digits")

    def _read(self, record: ShardRecord, within: int) -> ReadSample:
        with self._shards.reading(record) as shard, explain_damage(self._store, record):
            key = shard.keys[within]
            files = shard.files(key)
        with explain_damage(self._store, record):
            return decode_sample(StoredSample(key, files))

    def _facts_of(self, record: ShardRecord) -> pa.Table:
        name = sidecar_path(shard_name(self.manifest.name, record.shard_index))
        data = self._store.read(name)
        try:
            if data is None:
                raise ValueError("missing")
            table = read_table(data)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamageError(
                f"{self.uri}/{name}: not the table of its shard's samples ({error}); "
                f"`factory repair {self.uri}` rebuilds it"
            ) from error
        if table.num_rows != record.num_samples:
            raise DamageError(
                f"{self.uri}/{name}: {table.num_rows} rows, its shard has {record.num_samples} "
                f"samples; `factory repair {self.uri}` rebuilds it"
            )
        return table


def decode_sample(stored: StoredSample) -> ReadSample:
    """The pixels and facts of a sample.

    Raises:
        ValueError: If a file is missing or not whole.
    """
    files = stored.files
    return ReadSample(
        stored.key,
        decode_image(stored.image),
        decode_mask(stored.file(MASK_FILE)),
        read_facts(
            stored.file(FACTS_FILE), InstanceFacts if INSTANCES_FILE in files else SampleFacts
        ),
        decode_mask(files[CONFIDENCE_FILE]) if CONFIDENCE_FILE in files else None,
        decode_instances(files[INSTANCES_FILE]) if INSTANCES_FILE in files else None,
    )
