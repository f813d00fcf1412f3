import numpy as np
import pytest
from PIL import Image

import factory.run.backgrounds
from factory.errors import JobError
from factory.run.backgrounds import read_given
from factory.spec import ComposeSpec


def folder_of(folder, count):
    for place in range(count):
        Image.fromarray(np.full((8, 12, 3), place, np.uint8)).save(folder / f"{place}.png")
    return ComposeSpec(background="folder", folder=str(folder))


def test_pictures_are_cropped_and_averaged_to_the_generator_s_size(tmp_path):
    assert read_given(None, 4) is None
    assert read_given(ComposeSpec(background="other_sample"), 4) is None
    found = read_given(folder_of(tmp_path, 3), 4)
    assert found.names == ("0.png", "1.png", "2.png")
    assert found.pictures(0, np.arange(3))[1].shape == (3, 4, 4, 3)


def test_more_pictures_than_a_dataset_can_have_are_refused_before_they_are_decoded(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(factory.run.backgrounds, "MOST_BACKGROUNDS", 2)
    with pytest.raises(JobError, match=r"^dataset\.compose\.folder: more than 2 pictures"):
        read_given(folder_of(tmp_path, 3), 4)


def test_masks_in_a_dataset_s_shards_are_no_backgrounds(tmp_path):
    spec = folder_of(tmp_path, 1)
    (tmp_path / "0.png").rename(tmp_path / "0.mask.png")
    with pytest.raises(JobError, match="no pictures in"):
        read_given(spec, 4)
