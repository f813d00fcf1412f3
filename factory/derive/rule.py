"""Which samples of a dataset are taken: by the facts in its tables, before any shard is opened."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from factory.dataset.facts_table import read_facts_tables
from factory.dataset.near_train import find_repeats
from factory.derive.key_list import KeyList, check_known
from factory.errors import JobError
from factory.manifest.labels import MaskClass, find_class
from factory.manifest.measure import MIN_HASHED_HEIGHT, MIN_HASHED_WIDTH
from factory.manifest.paths import SPLITS
from factory.manifest.records import Manifest, ShardRecord
from factory.store import Store

_COLUMNS = ("index", "confidence", "class_px", "width", "height", "dhash")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a sample must have to be taken."""

    classes: tuple[str, ...] = ()
    """Mask classes that it contains, by name: each of them."""
    min_confidence: float = 0.0
    """Minimum confidence in its mask."""
    area: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Range of a class's share of the mask, both borders included."""
    without_repeats: bool = False
    """Whether a sample that nearly repeats an earlier one is dropped (4 of 64 bits of the hash)."""
    min_agreement: float = 0.0
    """Minimum agreement of its mask with those of other methods; only of datasets that compared them."""
    without_keys: KeyList | None = None
    """Samples that are dropped; only of one dataset, since keys are positions in it."""

    def plain(self) -> dict[str, Any]:
        """As JSON, for the identity of what is made."""
        plain = {
            "classes": list(self.classes),
            "min_confidence": self.min_confidence,
            "area": {name: list(limits) for name, limits in sorted(self.area.items())},
            "without_repeats": self.without_repeats,
        }
        plain |= {"min_agreement": self.min_agreement} if self.min_agreement else {}
        return plain | ({"without_keys": self.without_keys.plain()} if self.without_keys else {})


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that samples are taken from."""

    store: Store
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Chosen:
    """One sample that is taken."""

    source: int
    """Position of its dataset among the sources."""
    record: ShardRecord
    position: int
    """Position in its shard."""
    index: int
    """Its sample index there."""


def choose(sources: Sequence[Source], rule: Rule) -> dict[str, list[Chosen]]:
    """Choose samples by split, in the order of the sources, shards and indices.

    A sample keeps its split. Of near-duplicates the first stays, training samples before held-out ones.

    Raises:
        JobError: If a class is unknown, masks are to agree with others and were not compared, or
            samples are to be dropped that are not there.
        DamageError: If the table of a shard is missing or damaged.
    """
    if rule.without_keys is not None:
        _check_keys(sources, rule.without_keys)
    found: dict[str, list[Chosen]] = {}
    hashes: list[int | None] = []
    for split in SPLITS:
        rows = [
            row
            for place, source in enumerate(sources)
            for row in _rows_of(source, place, split, rule)
        ]
        found[split] = [chosen for chosen, _ in rows]
        hashes += [dhash for _, dhash in rows]
    if not rule.without_repeats:
        return found
    known = [place for place, dhash in enumerate(hashes) if dhash is not None]
    if hashes and not known:
        raise JobError(
            where="--without-repeats",
            found="no sample has a perceptual hash to compare",
            allowed=f"pictures of at least {MIN_HASHED_HEIGHT} x {MIN_HASHED_WIDTH} px",
            remedy="leave the option out",
        )
    numbers = np.array([hashes[place] for place in known], dtype=np.uint64)
    repeats = {known[place] for place in find_repeats(numbers)}
    flat = iter(range(len(hashes)))
    return {
        split: [chosen for chosen in inside if next(flat) not in repeats]
        for split, inside in found.items()
    }


def _check_keys(sources: Sequence[Source], keys: KeyList) -> None:
    """Require one source that has all of these samples; only tables of shards with a key are read."""
    (source,) = sources
    missing = set(keys.indices)
    ordered = sorted(missing)
    for record in source.manifest.records:
        first, end = record.first_index, record.first_index + record.num_indices
        if bisect_left(ordered, first) < bisect_left(ordered, end):
            table = read_facts_tables(source.store, [record], ("index",))
            missing.difference_update(table["index"].to_pylist())
    check_known(keys, source.manifest.dataset_id, missing, uri=source.store.uri)


def _rows_of(
    source: Source, place: int, split: str, rule: Rule
) -> Iterator[tuple[Chosen, int | None]]:
    """The samples of a split that obey the rule, with their hashes; None where there is none."""
    labels = source.manifest.meaning.labels
    for record in source.manifest.records_of(split):
        table = read_facts_tables(source.store, [record], None if rule.min_agreement else _COLUMNS)
        if rule.min_agreement and "agreement" not in table.column_names:
            raise JobError(
                where="--min-agreement",
                found=f"{source.store.uri} has masks that were not compared with other methods'",
                remedy="make it with `dataset.agreement` in its job, or leave the option out",
            )
        kept = _obeys(table, labels, rule)
        rows = table.select(["index", "dhash", "width", "height"]).to_pylist()
        for position, row in enumerate(rows):
            if kept[position]:
                is_hashed = row["width"] >= MIN_HASHED_WIDTH and row["height"] >= MIN_HASHED_HEIGHT
                dhash = int(row["dhash"], 16) if row["dhash"] and is_hashed else None
                yield Chosen(place, record, position, row["index"]), dhash


def _obeys(table: pa.Table, labels: Sequence[MaskClass], rule: Rule) -> np.ndarray:
    kept: np.ndarray = table["confidence"].to_numpy() >= rule.min_confidence
    if rule.min_agreement:
        kept &= table["agreement"].to_numpy() >= rule.min_agreement
    px = np.array(table["class_px"].to_pylist(), dtype=np.int64).reshape(-1, len(labels))
    size = table["width"].to_numpy().astype(np.int64) * table["height"].to_numpy()
    if rule.without_keys is not None:
        kept &= ~np.isin(table["index"].to_numpy(), sorted(rule.without_keys.indices))
    for name in rule.classes:
        kept &= px[:, find_class(name, labels, where="--class")] > 0
    for name, (least, most) in rule.area.items():
        share = px[:, find_class(name, labels, where="--area")] / size
        kept &= (share >= least) & (share <= most)
    return kept


def parse_area(text: str) -> tuple[str, tuple[float, float]]:
    """Parse `CLASS=LEAST..MOST`.

    Raises:
        JobError: If it is none.
    """
    name, _, limits = text.rpartition("=")
    least, dots, most = limits.partition("..")
    try:
        if not name or not dots:
            raise ValueError
        return name, (float(least or 0), float(most or 1))
    except ValueError as error:
        raise JobError(
            where="--area", found=f"found {text!r}", allowed="such as 'nucleus=0.05..0.6'"
        ) from error


def parse_areas(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Parse several of them, each about a class of its own.

    Raises:
        JobError: If one is none, or two are about one class.
    """
    areas: dict[str, tuple[float, float]] = {}
    for name, limits in map(parse_area, texts):
        if name in areas:
            raise JobError(where="--area", found=f"found {name!r} twice", allowed="each class once")
        areas[name] = limits
    return areas


def check_rule(rule: Rule) -> None:
    """Require that limits are shares.

    Raises:
        JobError: If one is not.
    """
    if not 0 <= rule.min_confidence <= 1:
        raise JobError(
            where="--min-confidence", found=f"found {rule.min_confidence:g}", allowed="0 to 1"
        )
    if not 0 <= rule.min_agreement <= 1:
        raise JobError(
            where="--min-agreement", found=f"found {rule.min_agreement:g}", allowed="0 to 1"
        )
    for name, (least, most) in rule.area.items():
        if not 0 <= least <= most <= 1:
            raise JobError(
                where="--area",
                found=f"found {name}={least:g}..{most:g}",
                allowed="two shares from 0 to 1, the first not above the second",
            )
