"""Who reads which samples, and in what order: arithmetic over the sizes of shards.

An epoch is a row of all samples: the shards in some order, each with its samples in theirs. Every
reader takes one stretch of the row, so that all samples are read once whatever the number of readers,
and each reader opens few shards.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory.identity import counter_rng

_MIXED_SHARDS = 8
_MIXED_BYTES = 2**30
"""Shards of a bucket are copied to this machine as long as they are read."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples of one shard that lie together."""

    shard: int
    """The shard's position in the dataset."""
    first: int
    """Position of the first one in the shard."""
    end: int
    """One past the position of the last one."""


def share(count: int, part: int, num_parts: int, *, equal: bool = False) -> tuple[int, int]:
    """The stretch of `count` samples, from first to one past the last, that one of many readers gets.

    Stretches differ by one sample at most. With `equal` they do not, and the last samples are nobody's.
    """
    if equal:
        each = count // num_parts
        return part * each, (part + 1) * each
    return part * count // num_parts, (part + 1) * count // num_parts


def order_shards(num_shards: int, *, seed: int, epoch: int) -> list[int]:
    """The shards' positions in an order that all readers of an epoch share."""
    order: list[int] = counter_rng("reading", seed, epoch).permutation(num_shards).tolist()
    return order


def cut(sizes: Sequence[int], order: Sequence[int], first: int, end: int) -> list[Piece]:
    """Cut a stretch out of a row of shards.

    Args:
        sizes: Samples of each shard.
        order: The shards' positions, as they stand in the row.
        first: Place of the stretch's first sample in the row.
        end: One past the place of its last one.
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
    """Divide pieces into groups that are read at the same time, a few shards each.

    Samples are mixed within a group: shards of a round for a rare class hold nothing else, and a batch
    of one class teaches little. `size_bytes` are those of all shards.
    """
    group: list[Piece] = []
    held = 0
    for piece in pieces:
        if group and (len(group) == _MIXED_SHARDS or held + size_bytes[piece.shard] > _MIXED_BYTES):
            yield group
            group, held = [], 0
        group.append(piece)
        held += size_bytes[piece.shard]
    if group:
        yield group


def mix(group: Sequence[Piece], *, seed: int, epoch: int) -> list[tuple[int, int]]:
    """The samples of a group in random order, as (position in the group, position in its shard)."""
    places = [
        (i, place) for i, piece in enumerate(group) for place in range(piece.first, piece.end)
    ]
    rng = counter_rng("reading", seed, epoch, 1 + group[0].shard)
    return [places[at] for at in rng.permutation(len(places))]
