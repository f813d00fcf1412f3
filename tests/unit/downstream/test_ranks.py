import pytest
import torch
from small_job import make_divided

import factory
from factory.downstream.pairs import step_rng, training_batches
from factory.downstream.ranks import ALONE, Ranks, joined_ranks
from factory.errors import JobError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    return make_divided(tmp_path_factory.mktemp("trained_on"))


def test_ranks_divide_every_batch_and_draw_numbers_of_their_own(divided):
    pairs = factory.open_dataset(divided)
    parts = [
        training_batches(pairs, 8, seed=3, first_step=2, ranks=Ranks(rank, 2)) for rank in range(2)
    ]
    for _ in range(6):
        halves = [next(part) for part in parts]
        assert [len(images) for images, _ in halves] == [4, 4]
        assert not torch.equal(halves[0][0], halves[1][0])
    drawn = [torch.rand(3, generator=step_rng(1, 2, rank)) for rank in range(2)]
    assert not torch.equal(*drawn)
    assert torch.equal(drawn[0], torch.rand(3, generator=step_rng(1, 2)))


def test_a_batch_that_ranks_cannot_share_is_told(divided):
    pairs = factory.open_dataset(divided)
    with pytest.raises(JobError, match="batch_size: found 8; a multiple of the 3 processes"):
        next(training_batches(pairs, 8, seed=0, first_step=0, ranks=Ranks(0, 3)))


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined_ranks() as ranks:
        assert ranks == ALONE
    assert ranks.from_first("x") == "x"
    assert ranks.any(True)
    assert not ranks.any(False)
