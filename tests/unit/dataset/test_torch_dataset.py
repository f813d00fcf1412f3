import pickle

import numpy as np
import pytest
import torch
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import DataLoader

from factory.dataset.reader import open_dataset
from factory.errors import JobError
from factory.identity import sample_key

KEYS = [sample_key(index) for index in range(13)]

# This machine may have fewer cores than a test has workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def read(dataset, num_workers=0, **options):
    loader = DataLoader(dataset, batch_size=None, num_workers=num_workers, **options)
    return [pair["key"] for pair in loader]


def test_pairs_are_tensors_of_the_samples_that_may_be_written_to(finished):
    dataset = open_dataset(finished)
    pairs = list(dataset.to_torch())
    assert [pair["key"] for pair in pairs] == KEYS
    for pair, sample in zip(pairs, dataset, strict=True):
        assert (pair["image"].dtype, pair["mask"].dtype) == (torch.uint8, torch.int64)
        assert np.array_equal(pair["image"].permute(1, 2, 0), sample.image)
        assert np.array_equal(pair["mask"], sample.mask)
        assert pair["class_label"] == sample.facts.class_label
        pair["image"][:], pair["mask"][:] = 1, 1


def test_batches_are_collated_by_the_loader(finished):
    (batch, *_) = DataLoader(open_dataset(finished).to_torch(), batch_size=4)
    assert batch["image"].shape == (4, 3, 32, 32)
    assert batch["mask"].shape == (4, 32, 32)
    assert batch["key"] == KEYS[:4]


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("world_size", "num_workers"), [(1, 2), (2, 3), (3, 0), (5, 4)])
def test_ranks_and_workers_read_every_sample_once(finished, shuffle, world_size, num_workers):
    dataset = open_dataset(finished)
    by_rank = []
    for rank in range(world_size):
        pairs = dataset.to_torch(shuffle=shuffle, rank=rank, world_size=world_size)
        by_rank.append(read(pairs, num_workers))
        assert len(by_rank[-1]) == len(pairs)
    assert sorted(key for keys in by_rank for key in keys) == KEYS
    assert max(map(len, by_rank)) - min(map(len, by_rank)) <= 1


@pytest.mark.slow
def test_more_workers_than_samples_are_fine(finished):
    assert sorted(read(open_dataset(finished).to_torch(), 16)) == KEYS


def test_equal_parts_leave_out_the_few_that_are_too_many(finished):
    dataset = open_dataset(finished)
    pairs = [dataset.to_torch(rank=rank, world_size=2, equal=True) for rank in range(2)]
    by_rank = [read(part, 4) for part in pairs]
    assert [len(keys) for keys in by_rank] == [4, 4]
    assert len({key for keys in by_rank for key in keys}) == 8


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_new_epoch_has_a_new_order_in_workers_that_stay(finished, start):
    pairs = open_dataset(finished).to_torch(shuffle=True, seed=3)
    loader = DataLoader(
        pairs,
        batch_size=None,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=start,
    )
    epochs = []
    for epoch in (0, 1, 0):
        pairs.set_epoch(epoch)
        epochs.append([pair["key"] for pair in loader])
    assert sorted(epochs[0]) == KEYS
    assert epochs[0] != epochs[1]
    assert epochs[0] == epochs[2]


def test_a_transform_is_applied_to_each_pair(finished):
    pairs = open_dataset(finished).to_torch(transform=lambda pair: int(pair["key"]))
    assert list(pairs) == list(range(13))


def test_it_can_be_sent_to_another_process(finished):
    pairs = pickle.loads(pickle.dumps(open_dataset(finished).to_torch(rank=1, world_size=2)))
    assert read(pairs) == KEYS[6:]


def test_the_rank_is_that_of_the_process_group_even_if_it_comes_later(finished):
    pairs = open_dataset(finished).to_torch()
    assert len(pairs) == 13
    distributed.init_process_group("fake", rank=1, world_size=3, store=FakeStore())
    try:
        keys = read(pairs)
        assert keys == KEYS[4:8]
        assert sorted(read(pairs, 2)) == keys
        away = pickle.dumps(pairs)
    finally:
        distributed.destroy_process_group()
    assert read(pickle.loads(away)) == keys, "a spawned worker knows no process group"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"rank": 2, "world_size": 2}, r"^rank: found 2; 0 to world_size - 1"),
        ({"rank": -1, "world_size": 2}, r"^rank: found -1; "),
        ({"rank": 1}, "give both or none"),
        ({"split": "test"}, "split: found 'test'"),
    ],
)
def test_a_part_that_is_not_there_is_told(finished, words, text):
    with pytest.raises(JobError, match=text):
        open_dataset(finished).to_torch(**words)


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_a_stopped_epoch_goes_on_with_the_batch_after_the_last(finished, shuffle, num_workers):
    def loader(pairs):
        return DataLoader(pairs, batch_size=2, num_workers=num_workers)

    pairs = open_dataset(finished).to_torch(shuffle=shuffle)
    pairs.set_epoch(3)
    whole = [batch["key"] for batch in loader(pairs)]
    for done in range(len(whole) + 1):
        again = open_dataset(finished).to_torch(shuffle=shuffle)
        again.resume_after(3, done, 2)
        rest = [batch["key"] for batch in loader(again)]
        assert rest == whole[done:]
        again.set_epoch(4)
        assert sum(len(batch["key"]) for batch in loader(again)) == 13


def test_a_state_says_how_far_a_process_is(finished):
    pairs = open_dataset(finished).to_torch(shuffle=True)
    pairs.set_epoch(1)
    keys = [pair["key"] for pair in pairs]
    stream = iter(pairs)
    for _ in range(4):
        next(stream)
    state = pairs.state_dict()
    assert state == {"epoch": 1, "pairs": 4}
    again = pickle.loads(pickle.dumps(open_dataset(finished).to_torch(shuffle=True)))
    again.load_state_dict(state)
    assert [pair["key"] for pair in again] == keys[4:]
    with pytest.raises(JobError, match="no state of a PairDataset"):
        pairs.load_state_dict({"step": 1})


def test_shards_that_were_read_before_are_not_opened_again(finished, monkeypatch):
    from factory.dataset import selection

    opened = []
    real = selection.open_shard

    def counted(store, record, *words):
        opened.append(record.path)
        return real(store, record, *words)

    monkeypatch.setattr(selection, "open_shard", counted)
    pairs = open_dataset(finished).to_torch()
    pairs.resume_after(0, 11, 1)
    assert [pair["key"] for pair in pairs] == ["000000011", "000000012"]
    assert len(opened) == 1
