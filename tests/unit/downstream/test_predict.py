from pathlib import Path

import numpy as np
import pytest
import torch
from colour_network import COLOURS, Colours, cell, colour_facts

from factory.downstream.model_file import Model
from factory.downstream.predict import predict
from factory.errors import JobError

RNG = np.random.default_rng(0)


class Counted:
    """The colour network, and the sizes that it was asked for."""

    def __init__(self):
        self.sizes = []

    def __call__(self, images):
        self.sizes.append(tuple(images.shape))
        return Colours()(images)


def asked(image, view, size_px=16):
    network = Counted()
    odds = predict(Model(Path("net"), colour_facts(size_px=size_px), network), image, view)
    return odds, network.sizes


@pytest.mark.parametrize("size", [(16, 16), (40, 33), (9, 50), (5, 7)])
def test_tiles_answer_every_pixel_as_the_network_does(size):
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    odds, sizes = asked(image, "tiles")
    assert odds.shape == (3, *size)
    assert (odds.argmax(dim=0).numpy() == image.argmax(axis=2)).all()
    assert torch.allclose(odds.sum(dim=0), torch.ones(size), atol=1e-5)
    assert {shape[2:] for shape in sizes} == {(16, 16)}


def test_tiles_overlap_by_a_quarter_at_least():
    image = np.zeros((16, 29, 3), np.uint8)
    _, sizes = asked(image, "tiles")
    assert sum(shape[0] for shape in sizes) == 3
    _, sizes = asked(image[:, :28], "tiles")
    assert sum(shape[0] for shape in sizes) == 2


def test_where_tiles_overlap_each_counts_most_at_its_middle():
    """The first tile says class 0, the second class 1."""

    def in_turn(tiles):
        answers = torch.full((len(tiles), 3, 16, 16), -30.0)
        for number in range(len(tiles)):
            answers[number, number] = 30
        return answers

    image = np.zeros((16, 28, 3), np.uint8)
    model = Model(Path("net"), colour_facts(size_px=16), in_turn)
    odds = predict(model, image, "tiles")[0, 8]
    assert (odds[:12] == 1).all()
    assert (odds[16:] < 1e-20).all()
    assert odds[12:16].tolist() == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=1e-5)


def test_a_whole_picture_is_shrunk_to_the_side_and_answered_at_its_own_size():
    mask = cell(side=64, core=12, rim=24)
    odds, sizes = asked(COLOURS[mask], "whole")
    assert sizes == [(1, 3, 16, 16)]
    assert (odds.argmax(dim=0).numpy() == mask).mean() > 0.97
    _, sizes = asked(np.zeros((32, 64, 3), np.uint8), "whole")
    assert sizes == [(1, 3, 16, 32)]
    _, sizes = asked(np.zeros((2, 100, 3), np.uint8), "whole")
    assert sizes == [(1, 3, 16, 128)], "a strip is not enlarged without bound"


def test_a_picture_of_the_side_is_answered_as_it_is():
    image = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    odds, _ = asked(image, "whole")
    assert (odds.argmax(dim=0).numpy() == image.argmax(axis=2)).all()


def test_a_picture_that_would_take_all_memory_is_refused(monkeypatch):
    monkeypatch.setattr("factory.downstream.predict._MOST_NUMBERS", 100)
    with pytest.raises(JobError, match="cut the picture into pieces"):
        asked(np.zeros((16, 16, 3), np.uint8), "tiles")
