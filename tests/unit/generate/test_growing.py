"""A progressively grown network ends at its level of detail, between two resolutions if need be."""

import pytest
import torch

from factory.errors import WeightsError
from factory.generate.early.growing import GrowingOutput


def run(lod, num_blocks=4):
    """The image after all blocks, whose maps hold the block's number; and the blocks that ran."""
    output = GrowingOutput(lod, num_blocks)
    image = None
    for block in range(num_blocks):
        maps = torch.full((1, 1, 2 << block, 2 << block), float(block))
        image = output.add(block, image, maps, lambda x: x)
    return image, [block for block in range(num_blocks) if output.runs(block)]


def test_a_network_that_is_fully_grown_shows_its_last_block():
    image, ran = run(0.0)
    assert image.shape[2:] == (16, 16)
    assert set(image.flatten().tolist()) == {3}
    assert ran == [0, 1, 2, 3]


def test_a_network_that_stopped_early_shows_that_block_enlarged():
    image, ran = run(2.0)
    assert image.shape[2:] == (16, 16)
    assert set(image.flatten().tolist()) == {1}
    assert ran == [0, 1]


def test_a_block_that_was_fading_in_is_blended_by_its_share():
    image, ran = run(1.25)
    assert image.flatten().tolist() == pytest.approx([0.75 * 2 + 0.25 * 1] * 256)
    assert ran == [0, 1, 2]


def test_coarser_blocks_have_no_colours_of_their_own():
    output = GrowingOutput(0.5, 3)
    calls = []
    maps = torch.zeros(1, 1, 4, 4)
    assert output.add(0, None, maps, calls.append) is None
    assert calls == []
    assert output.add(1, None, maps, lambda x: x) is maps


@pytest.mark.parametrize("lod", [-0.1, 3.5])
def test_a_level_that_there_is_not_is_refused(lod):
    with pytest.raises(
        WeightsError, match="a network of 4 resolutions has levels of detail 0 to 3"
    ):
        GrowingOutput(lod, 4)
