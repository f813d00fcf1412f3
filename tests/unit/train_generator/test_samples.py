"""Samples of a generator in training, their scores, and the weights file that is written of it."""

import pytest
import torch
from pictures import pictures, small_spec

from factory.checkpoint import read_checkpoint
from factory.generate.numerics import Numerics
from factory.train_generator.generator import initial_tensors, kwargs_of, network_of
from factory.train_generator.images import LabelledImages
from factory.train_generator.judge import train_judge
from factory.train_generator.samples import (
    Scores,
    draw_samples,
    mean_scores,
    score_samples,
    write_weights,
)
from factory.train_generator.trainer import Training

pytestmark = pytest.mark.slow

CPU = Numerics(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def images():
    found = pictures(20)
    pixels = torch.cat([torch.from_numpy(p) for p in found.values()]).permute(0, 3, 1, 2)
    labels = torch.arange(len(found)).repeat_interleave(20)
    return LabelledImages(pixels.contiguous(), labels, tuple(found)).at(8)


@pytest.fixture(scope="module")
def judge(images):
    return train_judge(images, torch.Generator().manual_seed(0), CPU.device)


def network(tmp_path, resolution=8):
    kwargs = kwargs_of(small_spec(tmp_path, tmp_path).network, 2)
    tensors = initial_tensors(kwargs, resolution, torch.Generator().manual_seed(0))
    return network_of(tensors, kwargs | {"img_resolution": resolution}, CPU)


def test_a_sample_is_drawn_for_every_class_that_is_asked_for(images, tmp_path):
    classes = torch.tensor([0, 1, 1, 0] * 10)
    found = draw_samples(network(tmp_path), classes, images, seed=0)
    assert (found.shape, found.dtype) == ((40, 3, 8, 8), torch.uint8)
    again = draw_samples(network(tmp_path), classes, images, seed=0)
    other = draw_samples(network(tmp_path), classes, images, seed=1)
    assert torch.equal(found, again)
    assert not torch.equal(found, other)


def test_a_network_that_is_still_growing_is_shown_at_the_pictures_size(images, tmp_path):
    found = draw_samples(network(tmp_path, 4), torch.tensor([0, 1]), images, seed=0)
    assert found.shape == (2, 3, 8, 8)
    assert torch.equal(found[:, :, ::2, ::2], found[:, :, 1::2, 1::2])


def test_every_class_is_scored_and_an_untrained_network_scores_badly(images, judge, tmp_path):
    found = score_samples(network(tmp_path), images, judge, 40, 0)
    assert list(found) == list(images.class_names)
    assert all(scores.kid > 0.1 and 0 <= scores.fidelity <= 1 for scores in found.values())
    assert sum(scores.fidelity for scores in found.values()) < 1.5


def test_the_mean_over_classes_is_taken_score_by_score():
    found = mean_scores({"a": Scores(1.0, 0.5, 0.0, 1.0), "b": Scores(3.0, 0.25, 1.0, 0.0)})
    assert found == Scores(2.0, 0.375, 0.5, 0.5)


def test_the_weights_file_holds_the_ema_weights_and_says_whose_they_are(tar, tmp_path):
    training = Training(small_spec(tar, tmp_path / "out"))
    state = training.state
    write_weights(state, training.spec.images, tmp_path / "w" / "weights")
    written = read_checkpoint(tmp_path / "w" / "weights")
    assert (written.family, written.license, written.attribution) == (
        "stylegan2", "CC0-1.0", "Nobody",
    )  # fmt: skip
    assert tuple(written.class_names) == state.class_names
    for name in state.ema.keys() - {"mapping.w_avg"}:  # which is computed when it is written
        tensor = state.ema[name]
        assert torch.equal(written.tensors[name], tensor.detach()), name
    assert written.tensors["mapping.w_avg"].shape == (16,)
    assert bool(written.tensors["mapping.w_avg"].any())
