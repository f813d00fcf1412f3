"""Contact sheets show real pictures on the left and samples on the right."""

import io

import numpy as np
import pytest
import torch
from pictures import small_spec
from PIL import Image

from factory.generate.numerics import Numerics
from factory.train_generator import sheets
from factory.train_generator.generator import initial_tensors, kwargs_of, network_of
from factory.train_generator.images import LabelledImages
from factory.train_generator.sheets import draw_comparison, draw_sheets

SIDE = 8


@pytest.fixture
def images():
    """Class 0 is all 10, class 1 counts its members up."""
    pixels = torch.full((20, 3, SIDE, SIDE), 10, dtype=torch.uint8)
    pixels[10:] = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1) * 20
    return LabelledImages(pixels, torch.arange(2).repeat_interleave(10), ("plain", "ramp"))


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Samples are white squares; notes for which classes and seeds they were drawn."""
    calls = []

    def draw(network, classes, images, seed):
        calls.append((classes.tolist(), seed))
        return torch.full((len(classes), 3, SIDE, SIDE), 250, dtype=torch.uint8)

    monkeypatch.setattr(sheets, "draw_samples", draw)
    return calls


@pytest.fixture
def network(tmp_path):
    kwargs = kwargs_of(small_spec(tmp_path, tmp_path).network, 2)
    tensors = initial_tensors(kwargs, SIDE, torch.Generator().manual_seed(0))
    return network_of(tensors, kwargs, Numerics(torch.device("cpu"), torch.float32))


def read(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_class_has_a_sheet_of_its_pictures_and_as_many_samples(network, images, drawn):
    found = draw_sheets(network, images, seed=5)
    assert list(found) == ["plain", "ramp"]
    sheet = read(found["plain"])
    assert sheet.shape == (6 * SIDE, 12 * SIDE + 8, 3)
    assert (sheet[:, : 6 * SIDE] == 10).all()
    assert (sheet[:, 6 * SIDE : 6 * SIDE + 8] == 255).all()
    assert (sheet[:, 6 * SIDE + 8 :] == 250).all()
    assert drawn == [([0] * 36, 5), ([1] * 36, 5)]


def test_pictures_are_taken_evenly_from_all_of_a_class_row_by_row(network, images):
    sheet = read(draw_sheets(network, images, seed=5)["ramp"])
    real = sheet[SIDE // 2 :: SIDE, SIDE // 2 : 6 * SIDE : SIDE, 0].flatten().astype(int)
    assert (real[0], real[-1]) == (0, 180)
    assert (np.diff(real) >= 0).all()
    assert len(set(real.tolist())) == 10


def test_a_comparison_has_a_named_row_per_class_and_samples_that_differ(network, images, drawn):
    sheet = read(draw_comparison(network, images, seed=5))
    rows = 2 * (2 * SIDE) + 8
    assert sheet.shape == (rows, 96 + 16 * SIDE + 8, 3)
    names = sheet[:, :96]
    assert (names[: 2 * SIDE] < 128).any(), "the first name is written"
    assert (names[2 * SIDE + 8 :] < 128).any(), "the second too"
    assert (sheet[: 2 * SIDE, 96 : 96 + 8 * SIDE] == 10).all()
    assert drawn == [([0] * 16, 5), ([1] * 16, 6)]
