"""Workers that share a GPU: each may take its part of the memory, on cards of any size."""

from types import SimpleNamespace

import pytest
import torch

from factory.errors import JobError
from factory.run.gpu_memory import Card, find_card, limit_memory, peak_bytes, workers_per_card

GIB = 2**30
T4 = Card("Tesla T4", 15 * GIB)
H200 = Card("NVIDIA H200", 139 * GIB)


@pytest.mark.parametrize(
    ("share", "num_workers"), [(1.0, 1), (0.6, 1), (0.5, 2), (1 / 3, 3), (0.3, 3), (0.1, 10)]
)
def test_a_card_holds_as_many_workers_as_ray_puts_there(share, num_workers):
    assert workers_per_card(share) == num_workers


@pytest.mark.parametrize("share", [1.0, 0.5, 1 / 3, 0.25, 0.1])
@pytest.mark.parametrize("card", [T4, H200], ids=lambda card: card.name)
def test_all_workers_of_a_card_fit_with_what_cuda_takes_in_each(card, share):
    if card is T4 and share == 0.1:  # 1.5 GiB each
        assert card.room_of(share) == GIB // 2
    assert workers_per_card(share) * (card.room_of(share) + GIB) <= card.total_bytes


def test_a_share_that_cuda_alone_would_take_is_refused_with_the_most_that_fit():
    with pytest.raises(JobError) as caught:
        T4.room_of(0.05)
    assert str(caught.value) == (
        "run.gpus_per_actor: found 0.05: 20 workers on Tesla T4 with 15.0 GiB, of which CUDA itself "
        "takes about 1 GiB in each; at most 7 workers on such a GPU; set it to 0.143 or more"
    )
    assert T4.room_of(0.143) > 0


def test_what_was_measured_tells_how_many_fit():
    assert T4.workers_that_fit(4 * GIB) == 3
    assert H200.workers_that_fit(4 * GIB) == 34


@pytest.fixture
def card(monkeypatch):
    """A GPU that this machine seems to have; gives the limits that were set on it."""
    limits = []
    there = SimpleNamespace(name=T4.name, total_memory=T4.total_bytes)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: there)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 3 * GIB)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)
    return limits


def test_a_worker_is_held_to_its_part_and_one_that_is_alone_is_not(card):
    limit_memory(1.0)
    assert card == []
    limit_memory(0.5)
    assert card == [pytest.approx(6.5 / 15)]
    assert (find_card(), peak_bytes()) == (T4, 4 * GIB)


def test_without_a_gpu_nothing_is_limited(card, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    limit_memory(0.5)
    assert card == []


@pytest.mark.gpu
def test_a_real_gpu_refuses_more_than_the_part_and_gives_the_part():
    limit_memory(0.5)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(find_card().total_bytes * 6 // 10, dtype=torch.uint8, device="cuda")
        assert torch.empty(GIB, dtype=torch.uint8, device="cuda").numel() == GIB
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
