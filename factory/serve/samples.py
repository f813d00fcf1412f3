"""Read samples by key from committed shards, and draw them with their masks.

A request names a sample by its nine-digit key alone, and only committed shards are read: no request
can name a path.
"""

import io
import threading
from collections import OrderedDict
from typing import TypeVar

import numpy as np
from PIL import Image

from factory.dataset.finder import SampleFinder
from factory.dataset.preview import overlay, paint, pairs_of
from factory.dataset.samples import decode_sample
from factory.dataset.walk import StoredSample, explain_damage, record_of
from factory.errors import DamageError
from factory.manifest.measure import Measures
from factory.manifest.paths import sidecar_of
from factory.manifest.records import ShardRecord
from factory.pack.facts import EditFacts, SampleFacts, read_sidecar
from factory.serve.answers import SampleAnswer, Tile
from factory.serve.queries import GalleryQuery
from factory.serve.view import Snapshot
from factory.store import Store

_MOST_FILES = 96
_MOST_TABLES = 24
_SHARDS_LOOKED_AT = 8
_TILE_PX = 192
_MOST_PX = 1024

_T = TypeVar("_T")
Row = tuple[SampleFacts, Measures]


class SampleReader:
    """Reads samples of one dataset, with a cache of the latest ones. Thread-safe."""

    def __init__(self, store: Store) -> None:
        """Start with an empty cache."""
        self._store = store
        self._finder = SampleFinder(store)
        self._lock = threading.Lock()
        self._files: OrderedDict[str, StoredSample] = OrderedDict()
        self._tables: OrderedDict[str, list[Row]] = OrderedDict()

    def gallery(self, snapshot: Snapshot, query: GalleryQuery) -> list[Tile]:
        """Select samples from a few shards, chosen by their receipts: not every table is read."""
        records = _candidate_shards(snapshot, query)
        rows = [row for record in records for row in self._rows(record)]
        if query.pick == "latest":
            rows.sort(key=lambda row: row[0].index, reverse=True)
        elif query.pick == "least_confident":
            rows.sort(key=lambda row: (row[0].confidence, row[0].index))
        else:
            rows.sort(key=lambda row: (-_area(row[0], query.mask_class), row[0].index))
        best = [facts for facts, _ in rows[: query.limit]]
        return [
            Tile(
                key=facts.key,
                confidence=facts.confidence,
                class_name=facts.class_name,
                is_edited=isinstance(facts, EditFacts),
            )
            for facts in best
        ]

    def describe(self, snapshot: Snapshot, key: str) -> SampleAnswer | None:
        """All facts about a sample; None if no committed shard contains it.

        Raises:
            DamageError: If its table counts fewer mask classes than the dataset has.
        """
        record = record_of(snapshot.records, int(key))
        row = self._row(record, key) if record else None
        if record is None or row is None:
            return None
        facts, measures = row
        labels = snapshot.meaning.labels if snapshot.meaning else []
        if len(facts.class_px) < len(labels):
            raise DamageError(
                where=f"{self._store.uri}/{sidecar_of(record.path)}",
                found=f"counts {len(facts.class_px)} classes of {key}, labels.json has {len(labels)}",
                remedy=f"`factory repair {self._store.uri}` rebuilds it",
            )
        steering = snapshot.plan.rounds[record.round_index].steering
        stated = facts.model_dump(include=set(SampleFacts.model_fields)) | measures.model_dump()
        found = {
            "class_px": {label.name: facts.class_px[label.id] for label in labels},
            "shard": record.path,
            "sha256": record.sha256,
            "round_index": record.round_index,
            "goal": steering.goal if steering else "",
            "is_edited": isinstance(facts, EditFacts),
            "replay": f"factory replay {snapshot.uri} {facts.key}",
        }
        return SampleAnswer(**stated | found)

    def picture(self, snapshot: Snapshot, key: str, what: str) -> bytes | None:
        """Draw a PNG of a sample: `image`, `mask` (in colours), `overlay`, or a `tile` of two.

        After its edit: `edited`, `edited_mask` and `edited_overlay`. None if no committed
        shard contains it, or it has no edit.
        """
        record = record_of(snapshot.records, int(key))
        files = self._sample_files(record, key) if record else None
        if record is None or files is None:
            return None
        labels = snapshot.meaning.labels if snapshot.meaning else []
        with explain_damage(self._store, record, key):
            sample = decode_sample(files, record.dataset_id)
        pair, *after = pairs_of(sample)
        if what == "tile":
            left = overlay(pair, labels) if after else pair.image
            right = overlay(after[0] if after else pair, labels)
            return _png(np.concatenate([left, right], axis=1), 2 * _TILE_PX)
        if what.startswith("edited"):
            if not after:
                return None
            pair = after[0]
        if what in ("image", "edited"):
            return _png(pair.image, _MOST_PX)
        in_colours = what in ("mask", "edited_mask")
        return _png(paint(pair.mask, labels) if in_colours else overlay(pair, labels), _MOST_PX)

    def _row(self, record: ShardRecord, key: str) -> Row | None:
        return next((row for row in self._rows(record) if row[0].key == key), None)

    def _rows(self, record: ShardRecord) -> list[Row]:
        """Read the sidecar table of a shard; empty if missing or damaged, since it can be rebuilt."""
        name = sidecar_of(record.path)
        with self._lock:
            rows = self._tables.get(name)
        if rows is not None:
            return rows
        try:
            rows = read_sidecar(self._store.read(name) or b"", most_rows=record.num_samples)
        except ValueError:
            return []
        with self._lock:
            _keep(self._tables, name, rows, _MOST_TABLES)
        return rows

    def _sample_files(self, record: ShardRecord, key: str) -> StoredSample | None:
        with self._lock:
            known = self._files.get(key)
        if known is not None:
            return known
        found = self._finder.find(record, int(key))
        if found is not None:
            with self._lock:
                _keep(self._files, key, found, _MOST_FILES)
        return found


def _candidate_shards(snapshot: Snapshot, query: GalleryQuery) -> list[ShardRecord]:
    records = list(snapshot.records)
    if query.pick == "latest":
        records.sort(key=lambda record: (record.finished_at, record.shard_index), reverse=True)
    elif query.pick == "least_confident":
        records.sort(key=lambda record: record.confidence[0])
    else:
        records.sort(key=lambda record: -_share(record, query.mask_class))
    return records[:_SHARDS_LOOKED_AT]


def _share(record: ShardRecord, mask_class: int) -> float:
    if mask_class >= len(record.class_px):
        return 0.0
    return record.class_px[mask_class] / max(1, sum(record.class_px))


def _area(facts: SampleFacts, mask_class: int) -> float:
    px = facts.class_px[mask_class] if mask_class < len(facts.class_px) else 0
    return px / (facts.width * facts.height)


def _png(pixels: np.ndarray, most_px: int) -> bytes:
    picture = Image.fromarray(pixels)
    if picture.width > most_px:
        height = max(1, picture.height * most_px // picture.width)
        picture = picture.resize((most_px, height), Image.Resampling.BOX)
    sink = io.BytesIO()
    picture.save(sink, "PNG", compress_level=1)
    return sink.getvalue()


def _keep(cache: "OrderedDict[str, _T]", name: str, value: _T, most: int) -> None:
    cache[name] = value
    while len(cache) > most:
        cache.popitem(last=False)
