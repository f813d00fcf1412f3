import numpy as np
import pytest

from factory.dataset import near_train
from factory.dataset.near_train import find_near


def hashes(count, key):
    return np.random.default_rng(key).integers(0, 2**64, count, dtype=np.uint64)


def slow_near(some, others):
    """Every pair, one by one."""
    nearest, bits = [], []
    for one in some.tolist():
        differ = [(one ^ other).bit_count() for other in others.tolist()]
        least = min(differ, default=65)
        bits.append(least if least <= 4 else 65)
        nearest.append(differ.index(least) if least <= 4 else 0)
    return nearest, bits


@pytest.mark.parametrize("at_once", [1, 7, 2**22])
def test_the_nearest_of_all_is_found_as_by_comparing_every_pair(monkeypatch, at_once):
    monkeypatch.setattr(near_train, "_PAIRS_AT_ONCE", at_once)
    others = hashes(150, 0)
    others[100] = others[7]  # of equals the first counts
    some = np.concatenate([others[:60], hashes(40, 1)])
    rng = np.random.default_rng(2)
    for place in range(60):  # 0 to 6 bits turned: 5 and 6 are too many
        for bit in rng.permutation(64)[: place % 7]:
            some[place] ^= np.uint64(1) << np.uint64(bit)
    nearest, bits = find_near(some, others)
    assert (nearest.tolist(), bits.tolist()) == slow_near(some, others)
    assert sorted(set(bits.tolist())) == [0, 1, 2, 3, 4, 65]


def test_four_bits_are_near_wherever_they_are_and_five_are_not():
    zero = np.zeros(1, dtype=np.uint64)
    spread = np.array([sum(1 << bit for bit in (0, 13, 26, 39))], dtype=np.uint64)
    more = np.array([sum(1 << bit for bit in (0, 13, 26, 39, 52))], dtype=np.uint64)
    assert find_near(spread, zero)[1] == [4]
    assert find_near(more, zero)[1] == [65]


def test_nothing_is_near_to_nothing():
    none = np.zeros(0, dtype=np.uint64)
    assert find_near(none, hashes(3, 0))[1].tolist() == []
    assert find_near(hashes(3, 0), none)[1].tolist() == [65, 65, 65]


def test_many_equal_pictures_are_compared_once():
    same = np.full(200_000, 5, dtype=np.uint64)
    nearest, bits = find_near(same, same)
    assert set(nearest.tolist()) == {0}
    assert set(bits.tolist()) == {0}
