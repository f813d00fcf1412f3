from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.dataset.division import Piece, cut, group_pieces, mix, order_shards, share

SIZES = st.lists(st.integers(0, 9), max_size=12)


@given(st.integers(0, 1000), st.integers(1, 40))
def test_shares_follow_each_other_and_differ_by_one_at_most(count, num_parts):
    shares = [share(count, part, num_parts) for part in range(num_parts)]
    assert (shares[0][0], shares[-1][1]) == (0, count)
    assert all(one[1] == next_one[0] for one, next_one in pairwise(shares))
    lengths = [end - first for first, end in shares]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(0, 1000), st.integers(1, 40))
def test_equal_shares_are_equal_and_leave_out_less_than_one_each(count, num_parts):
    shares = [share(count, part, num_parts, equal=True) for part in range(num_parts)]
    assert len({end - first for first, end in shares}) == 1
    assert count - num_parts < shares[-1][1] <= count


@given(SIZES, st.integers(1, 7), st.integers(0, 5), st.data())
def test_stretches_of_all_readers_hold_every_sample_once(sizes, num_parts, epoch, data):
    order = order_shards(len(sizes), seed=data.draw(st.integers(0, 9)), epoch=epoch)
    assert sorted(order) == list(range(len(sizes)))
    seen = []
    for part in range(num_parts):
        for piece in cut(sizes, order, *share(sum(sizes), part, num_parts)):
            seen += [(piece.shard, place) for place in range(piece.first, piece.end)]
    every = [(shard, place) for shard, size in enumerate(sizes) for place in range(size)]
    assert sorted(seen) == every
    assert len(seen) == len(every)


def test_a_stretch_begins_and_ends_inside_of_shards():
    assert cut([4, 3, 5], [2, 0, 1], 3, 10) == [Piece(2, 3, 5), Piece(0, 0, 4), Piece(1, 0, 1)]
    assert cut([4, 3, 5], [0, 1, 2], 4, 7) == [Piece(1, 0, 3)]
    assert cut([4, 3, 5], [0, 1, 2], 5, 5) == []


def test_orders_are_those_of_seed_and_epoch_and_nothing_else():
    def order(seed, epoch):
        return order_shards(50, seed=seed, epoch=epoch)

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(*at)) for at in ((1, 2), (1, 3), (2, 2), (2, 3))}) == 4


@pytest.mark.parametrize(("size_bytes", "lengths"), [(10, [8, 8, 4]), (2**29, [2] * 10)])
def test_groups_are_a_few_shards_and_no_more_than_a_disk_holds(size_bytes, lengths):
    pieces = [Piece(shard, 0, 5) for shard in range(20)]
    groups = list(group_pieces(pieces, [size_bytes] * 20))
    assert [len(group) for group in groups] == lengths
    assert [piece for group in groups for piece in group] == pieces


def test_a_shard_larger_than_a_group_may_be_is_read_alone():
    pieces = [Piece(shard, 0, 5) for shard in range(3)]
    assert [len(group) for group in group_pieces(pieces, [2**31] * 3)] == [1, 1, 1]


def test_a_group_s_samples_are_mixed_over_its_shards():
    group = [Piece(7, 0, 50), Piece(3, 10, 60)]
    places = mix(group, seed=0, epoch=0)
    assert sorted(places) == [(0, i) for i in range(50)] + [(1, i) for i in range(10, 60)]
    assert 15 < sum(shard for shard, _ in places[:50]) < 35
    assert places == mix(group, seed=0, epoch=0)
    assert places != mix(group, seed=0, epoch=1) != mix(group, seed=1, epoch=1)
