"""The judge tells classes apart, sees what does not depend on them, and is the same twice."""

import pytest
import torch
from pictures import pictures

from factory.train_generator.images import LabelledImages
from factory.train_generator.judge import train_judge

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    found = pictures(50)
    pixels = torch.cat([torch.from_numpy(p) for p in found.values()]).permute(0, 3, 1, 2)
    labels = torch.arange(len(found)).repeat_interleave(50)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    small = LabelledImages(pixels[order].contiguous(), labels[order], tuple(found)).at(8)
    assert small.pixels.shape == (100, 3, 8, 8)
    return small


def train(images, seed=0):
    return train_judge(images, torch.Generator().manual_seed(seed), CPU)


@pytest.fixture(scope="module")
def judge(images):
    return train(images)


def test_held_out_pictures_are_told_by_their_class(images, judge):
    assert judge.accuracy == 1.0
    held_out = torch.arange(100) % 10 == 9
    _, logits = judge.features_and_logits(images.pixels[held_out])
    assert (logits.argmax(dim=1) == images.labels[held_out]).all()


def test_many_pictures_are_judged_piece_by_piece_with_the_same_result(images, judge):
    many = images.pixels.repeat(3, 1, 1, 1)
    features, logits = judge.features_and_logits(many)
    assert (len(features), logits.shape) == (300, (300, 2))
    assert torch.allclose(features[200:], features[:100], atol=1e-4)


def test_features_tell_pictures_of_one_class_apart(images, judge):
    features, _ = judge.features_and_logits(images.pixels[images.labels == 0])
    assert float(features.std(dim=0).max()) > 0.1


def test_the_same_random_numbers_give_the_same_judge(images, judge):
    again, other = train(images), train(images, seed=1)
    assert all(torch.equal(again.tensors[name], judge.tensors[name]) for name in judge.tensors)
    assert not torch.equal(other.tensors["classes"], judge.tensors["classes"])


def test_labels_that_mean_nothing_are_not_learnt(images):
    coin = torch.randint(2, (100,), generator=torch.Generator().manual_seed(3))
    assert train(LabelledImages(images.pixels, coin, images.class_names)).accuracy < 0.95
