import numpy as np
import pytest
import torch

from factory.make.host_copy import start_copies


def test_on_a_cpu_nothing_is_copied_and_what_is_missing_stays_missing():
    images = torch.arange(12, dtype=torch.uint8).view(1, 2, 2, 3)
    with torch.inference_mode():
        flags = torch.tensor([True])
    found = start_copies({"images": images, "rgba": None, "flags": flags})()
    assert list(found) == ["images", "flags"]
    assert np.shares_memory(found["images"], images.numpy())
    assert found["flags"].tolist() == [True]


def test_no_stream_is_made_on_a_cpu(monkeypatch):
    def refuse(*_):
        raise AssertionError("a stream was asked for")

    monkeypatch.setattr("factory.make.host_copy._stream_of", refuse)
    assert start_copies({"x": torch.ones(2)})()["x"].tolist() == [1, 1]


@pytest.mark.gpu
def test_from_a_gpu_copies_hold_what_was_computed_before_them_whatever_comes_after():
    rng = torch.Generator("cuda").manual_seed(1)
    for _ in range(20):
        made = torch.randint(256, (16, 256, 256, 3), generator=rng, device="cuda").byte()
        expected = made.clone()
        wait = start_copies({"made": made})
        del made
        # Memory that was given away too early would be overwritten by these.
        later = [torch.zeros(16, 256, 256, 3, dtype=torch.uint8, device="cuda") for _ in range(4)]
        assert np.array_equal(wait()["made"], expected.cpu().numpy())
        del later
