"""Encode a batch in pieces, side by side: one large image keeps a core busy for many milliseconds."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from factory.data import Sample
from factory.pack.packing import EncodedSample

LEAST_PX = 2**17
"""Pixels of a piece: less takes less time than handing Python's lock to another thread is worth."""

Encode = Callable[[Sequence[Sample]], list[EncodedSample]]


@dataclass(frozen=True, slots=True)
class PiecewiseBatch:
    """A batch that is being encoded in pieces, in order."""

    pieces: tuple[Future[list[EncodedSample]], ...]

    def result(self) -> list[EncodedSample]:
        """Wait for all pieces.

        Raises:
            Exception: Whatever stopped an encoder.
        """
        return [sample for piece in self.pieces for sample in piece.result()]


def encode_in_pieces(
    samples: Sequence[Sample], encode: Encode, threads: ThreadPoolExecutor
) -> PiecewiseBatch:
    """Start to encode samples of one size on `threads`."""
    return PiecewiseBatch(tuple(threads.submit(encode, piece) for piece in _pieces(samples)))


def _pieces(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    size = _samples_per_piece(samples[0].mask.size) if samples else 1
    for first in range(0, len(samples), size):
        yield samples[first : first + size]


def _samples_per_piece(num_px: int) -> int:
    return max(1, LEAST_PX // num_px)
