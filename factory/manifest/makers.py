"""Who made which shards: the facts of receipts that decide bytes, and how makers differ in them.

A maker is a device and the versions behind it: shards of one maker are equal byte by byte to what it
makes again, shards of another need not be. Facts that decide bytes are the device's name, the kernels
that compute on it, torch, numpy, Pillow and zlib, the digest of a picture that the encoders write, and
the version of this package, whose promise of equal bytes is checked here and not assumed. Others are
left out because no byte depends on them: host, process and run; Python, whose text of numbers and JSON
is fixed; safetensors, which copies tensors; zlib-ng, which is used where it writes what zlib writes.

An adopted shard has no maker: nobody saw who made it. Receipts of earlier versions lack facts; one that
states less belongs to the maker with which it agrees in what it states.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import pyarrow as pa

from factory.manifest.records import ShardRecord

UNKNOWN = "unknown"
"""Written in the receipt of an adopted shard where only the worker that made it knew."""

_NO_BYTES = ("python", "safetensors", "zlib-ng")
_MOST_COMPARED = 16
_MOST_SHOWN = 8
_MOST_RUNS = 24
_COLUMNS = pa.schema([("device", pa.string()), ("versions", pa.map_(pa.string(), pa.string()))])


@dataclass(frozen=True, slots=True, order=True)
class Maker:
    """What decides the bytes of a shard, as far as it is known."""

    facts: tuple[tuple[str, str], ...]
    """Names and values, sorted by name; none if nothing is known."""

    def agrees_with(self, other: "Maker") -> bool:
        """Whether both state something, and the same wherever both do."""
        theirs = dict(other.facts)
        both = [theirs[name] == value for name, value in self.facts if name in theirs]
        return bool(both) and all(both)

    def differences_to(self, other: "Maker") -> list[tuple[str, str, str]]:
        """Name, value and the value of `other`, of each fact that both state and that differs."""
        theirs = dict(other.facts)
        return [(n, v, theirs[n]) for n, v in self.facts if n in theirs and theirs[n] != v]

    def describe(self, names: Iterable[str] | None = None) -> str:
        """Its facts in one line; only those with `names`, if given."""
        chosen = {name for name, _ in self.facts} if names is None else set(names)
        words = [f"{name} {value}" for name, value in self.facts if name in chosen]
        return ", ".join(words) or "unknown (adopted, or made by an early version)"


def maker_of(device: str, versions: Mapping[str, str]) -> Maker:
    """The maker that a receipt names by `device` (empty = not known) and `versions`."""
    facts = {name: value for name, value in versions.items() if name not in _NO_BYTES}
    if device and device != UNKNOWN:
        facts["device"] = device
    return Maker(tuple(sorted(facts.items())))


def find_makers(records: Iterable[ShardRecord]) -> dict[Maker, list[int]]:
    """The makers of committed shards, each with the indices of its shards, ascending."""
    by_text: dict[tuple[str, tuple[tuple[str, str], ...]], list[int]] = {}
    for record in records:  # a dataset may have a million: what repeats is looked at once
        key = record.device, tuple(record.versions.items())
        by_text.setdefault(key, []).append(record.shard_index)
    found: dict[Maker, list[int]] = {}
    for (device, versions), shards in by_text.items():
        found.setdefault(maker_of(device, dict(versions)), []).extend(shards)
    joined: dict[Maker, list[int]] = {}
    for maker, whole in _whole_makers(found).items():
        joined.setdefault(whole, []).extend(found[maker])
    return {maker: sorted(shards) for maker, shards in joined.items()}


def count_makers(records: Iterable[ShardRecord]) -> Counter[Maker]:
    """The makers of committed shards, each with the number of its shards."""
    return Counter({maker: len(shards) for maker, shards in find_makers(records).items()})


def join_makers(counts: Mapping[Maker, int]) -> Counter[Maker]:
    """Counts of makers, with those that state less added to the one with which they agree."""
    joined: Counter[Maker] = Counter()
    for maker, whole in _whole_makers(counts).items():
        joined[whole] += counts[maker]
    return joined


def count_in_table(table: pa.Table) -> Counter[Maker]:
    """The makers in the columns `device` and `versions` of a table of receipts.

    Raises:
        pyarrow.ArrowException: If the columns are of other types.
    """
    import pyarrow.compute as pc

    table = table.select(_COLUMNS.names).cast(_COLUMNS)  # whoever wrote it
    maps = table["versions"].combine_chunks()
    if not len(maps):
        return Counter()
    # Rows are compared as text inside Arrow: as Python objects, a million would take ten seconds.
    texts = [
        pc.binary_join(pa.ListArray.from_arrays(maps.offsets, part), "\x1f")
        for part in (maps.keys, maps.items)
    ]
    keys = pa.table({"device": table["device"], "names": texts[0], "values": texts[1]})
    numbered = keys.append_column("row", pa.array(range(len(keys))))
    groups = numbered.group_by(keys.column_names).aggregate([("row", "min"), ("row", "count")])
    rows = table.take(groups["row_min"]).to_pylist()
    found: Counter[Maker] = Counter()
    for row, count in zip(rows, groups["row_count"].to_pylist(), strict=True):
        versions = {name: value for name, value in row["versions"] or () if value is not None}
        found[maker_of(row["device"] or "", versions)] += count
    return found


def describe_makers(makers: Mapping[Maker, Sequence[int]]) -> list[str]:
    """A line for each maker: its shards, and the facts in which makers differ. Most shards first."""
    by_size = sorted(makers, key=lambda maker: (-len(makers[maker]), maker))
    shown = by_size[:_MOST_SHOWN]
    names = {name for a, b in combinations(shown, 2) for name, *_ in a.differences_to(b)}
    lines = [
        f"shards {ranges(makers[maker])} ({len(makers[maker]):,}): {maker.describe(names)}"
        for maker in shown
    ]
    rest = by_size[_MOST_SHOWN:]
    if rest:
        lines.append(f"{sum(len(makers[m]) for m in rest):,} shards of {len(rest):,} more makers")
    return lines


def name_makers(counts: Mapping[Maker, int]) -> dict[str, int]:
    """Numbers of shards by all that is known of their maker; most shards first."""
    by_size = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    named: Counter[str] = Counter()
    for place, (maker, count) in enumerate(by_size):
        named[maker.describe() if place < _MOST_SHOWN else "others"] += count
    return dict(named)


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, at least one, in few words: `0-5, 9`. Of a long list the middle is left out."""
    ends = [place for place, (a, b) in enumerate(pairwise(numbers), 1) if b != a + 1]
    runs = list(pairwise([0, *ends, len(numbers)]))
    words = [_run(numbers[start], numbers[end - 1]) for start, end in runs[:_MOST_RUNS]]
    if len(runs) > _MOST_RUNS:
        words.append(f"... up to {numbers[-1]}")
    return ", ".join(words)


def _run(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}-{last}"


def _whole_makers(makers: Iterable[Maker]) -> dict[Maker, Maker]:
    """For each maker the one that states most of those it agrees with; often itself."""
    whole: list[Maker] = []
    found: dict[Maker, Maker] = {}
    for maker in sorted(makers, key=lambda maker: (-len(maker.facts), maker)):
        # In a dataset of somebody else every shard may have another: a bound keeps that quick.
        near = (other for other in whole[:_MOST_COMPARED] if maker.agrees_with(other))
        found[maker] = next(near, maker)
        if found[maker] is maker:
            whole.append(maker)
    return found
