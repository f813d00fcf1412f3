"""A batch is encoded in pieces by as many threads as there are, and comes back in order."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from factory.data import Sample
from factory.pack.packing import EncodedBatch, encode_batch
from factory.pack.pieces import encode_in_pieces
from factory.spec import EncodeSpec


def samples(count, side):
    rng = np.random.default_rng(0)
    return [
        Sample(
            index=index,
            image=rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
            mask=rng.integers(0, 3, (side, side), dtype=np.uint8),
            class_label=0,
            confidence=1.0,
            class_px=(side * side, 0, 0),
            latent_cell=0,
        )
        for index in range(count)
    ]


def encode(batch):
    return encode_batch(batch, EncodeSpec(), dataset_id="0" * 16, class_names=())


@pytest.mark.parametrize(("count", "side"), [(0, 8), (1, 8), (7, 16), (5, 400), (9, 256)])
def test_pieces_are_the_batch_in_order(count, side):
    batch = samples(count, side)
    with ThreadPoolExecutor(3) as threads:
        pieces = encode_in_pieces(batch, encode, threads)
        assert isinstance(pieces, EncodedBatch)
        found = pieces.result()
    assert [sample.files for sample in found] == [sample.files for sample in encode(batch)]
    assert [sample.measures for sample in found] == [sample.measures for sample in encode(batch)]


def test_large_samples_of_one_batch_are_encoded_at_the_same_time():
    """Each waits for the others: one thread for the whole batch would wait for ever."""
    together = threading.Barrier(4, timeout=30)

    def waiting(batch):
        assert len(batch) == 1
        together.wait()
        return encode(batch)

    with ThreadPoolExecutor(4) as threads:
        assert len(encode_in_pieces(samples(4, 400), waiting, threads).result()) == 4


def test_small_samples_stay_together():
    sizes = []

    def noting(batch):
        sizes.append(len(batch))
        return encode(batch)

    with ThreadPoolExecutor(1) as threads:
        encode_in_pieces(samples(70, 64), noting, threads).result()
    assert sizes == [32, 32, 6]


def test_what_stops_an_encoder_is_raised():
    def failing(batch):
        raise ValueError("no room")

    with ThreadPoolExecutor(2) as threads, pytest.raises(ValueError, match="no room"):
        encode_in_pieces(samples(2, 400), failing, threads).result()
