"""Divide an epoch over readers, and shuffle it: arithmetic over the sizes of shards.

An epoch is the sequence of all samples: shards in some order, each with its samples in order. Every
reader takes one contiguous range of it, so that each sample is read once for any number of readers, and
each reader opens few shards.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory.errors import JobError
from factory.identity import counter_rng
from factory.manifest.records import Manifest

ALL_SPLITS = "all"
"""In place of a split: the samples of all splits."""

_MIXED_SHARDS = 8
_MIXED_BYTES = 2**30
"""Limits of a shuffle buffer: a shard from S3 is copied to local disk for as long as it is read."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A contiguous range of samples of one shard."""

    shard: int
    """The shard's position in the dataset."""
    first: int
    """Position of the first sample in the shard."""
    end: int
    """One past the position of the last one."""


def share(count: int, part: int, num_parts: int, *, equal: bool = False) -> tuple[int, int]:
    """The range of `count` samples that reader `part` of `num_parts` gets: (first, one past the last).

    Ranges differ in length by one sample at most. With `equal` they do not differ, and the remaining
    samples at the end are left out.
    """
    if equal:
        each = count // num_parts
        return part * each, (part + 1) * each
    # Rounded at both borders by the same rule: neighbouring ranges meet without a gap or an overlap.
    return part * count // num_parts, (part + 1) * count // num_parts


def check_split(split: str, manifest: Manifest) -> None:
    """Require that a dataset has a split, or that all splits are meant.

    Raises:
        JobError: If there is no such split.
    """
    if split not in (*manifest.splits, ALL_SPLITS):
        names = ", ".join(repr(name) for name in (*manifest.splits, ALL_SPLITS))
        raise JobError(
            where="split",
            found=f"found {split!r}",
            allowed=f"this dataset has {names}",
            remedy="" if len(manifest.splits) > 1 else "dataset.splits of a job divides a dataset",
        )


def check_number(name: str, number: int) -> None:
    """Refuse seeds and epochs that no order can be drawn from.

    Raises:
        JobError: If it is none of 0 to 2^63 - 1. `name` is the argument.
    """
    if not 0 <= number < 2**63:
        raise JobError(where=name, found=f"found {number}", allowed="a number from 0 to 2^63 - 1")


def order_shards(num_shards: int, *, seed: int, epoch: int) -> list[int]:
    """The random order of shards in an epoch; equal for all readers."""
    # A function of seed and epoch, not of the process: readers agree without talking to each other.
    order: list[int] = counter_rng("reading", seed, epoch).permutation(num_shards).tolist()
    return order


def cut(sizes: Sequence[int], order: Sequence[int], first: int, end: int) -> list[Piece]:
    """Cut a range of an epoch into pieces of shards.

    Args:
        sizes: Number of samples of each shard.
        order: The shards' positions, in the order of the epoch.
        first: Position of the range's first sample in the epoch.
        end: One past the position of its last one.
    """
    pieces = []
    start = 0
    for shard in order:
        stop = start + sizes[shard]
        if max(start, first) < min(stop, end):
            pieces.append(Piece(shard, max(start, first) - start, min(stop, end) - start))
        start = stop
    return pieces


def group_pieces(pieces: Sequence[Piece], size_bytes: Sequence[int]) -> Iterator[list[Piece]]:
    """Divide pieces into groups that are read together: at most 8 shards and, beyond one shard, 1 GiB.

    Samples are shuffled within a group: the shards of a round for a rare class contain little else, and
    batches of a single class train badly. `size_bytes` has the sizes of all shards.
    """
    group: list[Piece] = []
    held_bytes = 0
    for piece in pieces:
        if group and (
            len(group) == _MIXED_SHARDS or held_bytes + size_bytes[piece.shard] > _MIXED_BYTES
        ):
            yield group
            group, held_bytes = [], 0
        group.append(piece)
        held_bytes += size_bytes[piece.shard]
    if group:
        yield group


def mix(group: Sequence[Piece], *, seed: int, epoch: int) -> list[tuple[int, int]]:
    """Shuffle the samples of a group; returns (position in the group, position in its shard)."""
    places = [
        (i, place) for i, piece in enumerate(group) for place in range(piece.first, piece.end)
    ]
    # Keyed by the group's first shard; 0 is the key of the order of shards.
    rng = counter_rng("reading", seed, epoch, 1 + group[0].shard)
    return [places[at] for at in rng.permutation(len(places))]
