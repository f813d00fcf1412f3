"""Find samples by their facts, a page at a time, in the order of their keys.

A request does a bounded amount of work, however large the dataset is: receipts tell which shards hold
nothing of what is asked for, tables of the others are read in order until the page is full or enough
was read, and the answer says with which key to go on.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from factory.errors import FactoryError
from factory.identity import sample_key
from factory.manifest.parquet import read_table
from factory.manifest.paths import sidecar_of
from factory.manifest.records import ShardRecord
from factory.pack.facts import find_odd_column
from factory.serve.answers import FoundSamples, Tile
from factory.serve.queries import SearchQuery
from factory.serve.view import Snapshot
from factory.store import Store

MOST_TABLES = 24
"""Tables that a request reads."""
MOST_ROWS = 50_000
"""Rows after which a request reads no further table."""
_KEPT_BYTES = 2**26
_COLUMNS = ("index", "class_label", "confidence", "width", "height", "class_px")
# Quantiles in receipts are rounded to six digits, as the facts are.
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is searched of a shard's table, in ascending order of the indices."""

    index: np.ndarray  # int64
    label: np.ndarray  # int64, -1 = none
    confidence: np.ndarray  # float64
    area: np.ndarray  # float32, samples x classes: shares of the image

    @property
    def num_bytes(self) -> int:
        return sum(a.nbytes for a in (self.index, self.label, self.confidence, self.area))


class SampleSearch:
    """Searches the samples of one dataset; keeps the tables that were read last. Thread-safe."""

    def __init__(self, store: Store) -> None:
        """Start without a table."""
        self._store = store
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Rows] = OrderedDict()

    def find(self, snapshot: Snapshot, query: SearchQuery) -> FoundSamples:
        """Find a page of the samples that match, from `from_key` on, in the order that is asked for.

        Shards whose table is missing or damaged are counted and passed over: it can be rebuilt.
        """
        names = snapshot.meaning.generator_classes if snapshot.meaning else []
        rounds = snapshot.plan.rounds
        is_edited = bool(rounds) and "edit" in rounds[0].identity
        tile = partial(_tile, names=names, is_edited=is_edited)
        tiles: list[Tile] = []
        num_tables = num_rows = num_searched = num_unreadable = 0
        next_key = ""
        for record in _in_order(snapshot.records, query):
            if not _may_match(record, query):
                num_searched += record.num_samples
                continue
            if num_tables >= MOST_TABLES or num_rows >= MOST_ROWS:
                next_key = sample_key(_first_of(record, query))
                break
            rows = self._rows(record)
            num_tables += 1
            num_rows += record.num_samples
            if rows is None:
                num_unreadable += 1
                continue
            found = _matching(rows, query)
            tiles += [tile(rows, p) for p in islice(found, query.limit - len(tiles))]
            after = next(found, None)
            if after is not None:
                next_key = sample_key(int(rows.index[after]))
                break
            num_searched += record.num_samples
        return FoundSamples(
            tiles=tiles,
            next_key=next_key,
            samples_searched=num_searched,
            shards_unreadable=num_unreadable,
        )

    def _rows(self, record: ShardRecord) -> _Rows | None:
        name = sidecar_of(record.path)
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        try:
            rows = _read(self._store.read(name) or b"", record)
        except (FactoryError, ValueError, KeyError, pa.ArrowException, OSError):
            return None
        with self._lock:
            self._kept[name] = rows
            while sum(kept.num_bytes for kept in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return rows


def _in_order(records: tuple[ShardRecord, ...], query: SearchQuery) -> Iterator[ShardRecord]:
    """The shards from the first key on, in the order that is asked for."""
    is_down = query.order == "descending"
    start = None if query.from_key is None else int(query.from_key)
    for record in reversed(records) if is_down else records:
        if start is None or (record.first_index <= start if is_down else _end(record) > start):
            yield record


def _end(record: ShardRecord) -> int:
    return record.first_index + record.num_indices


def _first_of(record: ShardRecord, query: SearchQuery) -> int:
    return _end(record) - 1 if query.order == "descending" else record.first_index


def _may_match(record: ShardRecord, query: SearchQuery) -> bool:
    """Whether a shard can have a matching sample, by its receipt alone."""
    least, most = record.confidence[0] - _ROUNDING, record.confidence[-1] + _ROUNDING
    if least > query.max_confidence or most < query.min_confidence:
        return False
    wanted = query.mask_class
    if wanted is None:
        return True
    return wanted < len(record.class_images) and record.class_images[wanted] > 0


def _matching(rows: _Rows, query: SearchQuery) -> Iterator[int]:
    """Positions of the matching samples, in the order that is asked for."""
    is_down = query.order == "descending"
    kept = (rows.confidence >= query.min_confidence) & (rows.confidence <= query.max_confidence)
    if query.from_key is not None:
        start = int(query.from_key)
        kept &= rows.index <= start if is_down else rows.index >= start
    if query.generator_class is not None:
        kept &= rows.label == query.generator_class
    if query.mask_class is not None:
        area = rows.area[:, query.mask_class]
        kept &= (area > 0) & (area >= query.min_area) & (area <= query.max_area)
    places = np.flatnonzero(kept)
    return iter((places[::-1] if is_down else places).tolist())


def _tile(rows: _Rows, place: int, names: list[str], *, is_edited: bool) -> Tile:
    label = int(rows.label[place])
    return Tile(
        key=sample_key(int(rows.index[place])),
        confidence=float(rows.confidence[place]),
        class_name=names[label] if 0 <= label < len(names) else "",
        is_edited=is_edited,
    )


def _read(data: bytes, record: ShardRecord) -> _Rows:
    """Decode what is searched of a shard's table, which may be anybody's.

    Raises:
        ValueError: If it is not the table of these samples.
        KeyError: If a column is missing.
        pyarrow.ArrowException: If it is no table.
    """
    table = read_table(data, _COLUMNS, most_rows=record.num_samples)
    if find_odd_column(table.schema) or any(column.null_count for column in table.columns):
        raise ValueError("another table")
    index, label, confidence, width, height = (
        table[name].to_numpy() for name in _COLUMNS if name != "class_px"
    )
    counts = table["class_px"].combine_chunks()
    num_classes = len(record.class_px)
    has_all = pc.all(pc.equal(pc.list_value_length(counts), num_classes)).as_py()
    px = np.asarray(counts.flatten(), dtype=np.float64)
    inside = len(index) and record.first_index <= index[0] and index[-1] < _end(record)
    if not (inside and has_all and (np.diff(index) > 0).all() and (width > 0).all()):
        raise ValueError("rows of other samples")
    size = (width.astype(np.float64) * np.maximum(height, 1))[:, None]
    area = (px.reshape(len(index), num_classes) / size).astype(np.float32)
    return _Rows(index.astype(np.int64), label.astype(np.int64), confidence.astype(float), area)
