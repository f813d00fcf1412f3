"""Weights that are not numbers are refused, whatever file they come in."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from factory.checkpoint import read_checkpoint, write_safetensors
from factory.checkpoint.finite import check_finite
from factory.errors import WeightsError
from factory.generate.weights.find import read_weights

PARITY = Path(__file__).parents[2] / "golden" / "parity"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (float("nan"), "NaN"),
        (float("inf"), "an infinite number"),
        (-float("inf"), "an infinite number"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_number_that_is_none_is_enough(value, word, dtype):
    tensors = {
        "good": torch.ones(3),
        "count": torch.tensor(3),
        "bad": torch.ones(2, 3, dtype=dtype),
    }
    check_finite("f", tensors)
    tensors["bad"][1, 2] = value
    with pytest.raises(WeightsError) as caught:
        check_finite("f", tensors)
    assert str(caught.value) == (
        f"f: tensor 'bad' holds {word} (1 of 6 numbers); weights are finite; the training diverged: "
        "take an earlier checkpoint"
    )


def test_a_negative_variance_is_refused_and_one_that_was_rounded_is_not():
    tensors = {
        "main.1.running_var": torch.tensor([1.0, -1e-6]),
        "main.1.bias": torch.tensor([-3.0]),
    }
    check_finite("f", tensors)
    tensors["main.1.running_var"][1] = -1
    with pytest.raises(WeightsError) as caught:
        check_finite("f", tensors)
    assert str(caught.value) == (
        "f: tensor 'main.1.running_var' holds a negative variance (1 of 2 numbers); variances are 0 or "
        "more; the file is damaged: get it again"
    )


def test_empty_tensors_and_those_of_integers_are_finite():
    check_finite(
        "f", {"empty": torch.zeros(0, 3), "flags": torch.tensor([True]), "n": torch.arange(3)}
    )


def test_reading_refuses_them_and_so_does_loading_a_converted_file(tmp_path):
    tensors = load_file(PARITY / "dcgan_64.safetensors")
    save_file(tensors, tmp_path / "x")
    write_safetensors(read_checkpoint(tmp_path / "x"), tmp_path / "converted.safetensors")
    read_weights(tmp_path / "converted.safetensors")
    tensors["main.1.running_var"][0] = float("nan")
    save_file(tensors, tmp_path / "x")
    with pytest.raises(WeightsError, match=r"'main\.1\.running_var' holds NaN"):
        read_checkpoint(tmp_path / "x")
    with pytest.raises(WeightsError, match=r"'main\.1\.running_var' holds NaN"):
        read_weights(tmp_path / "x")
