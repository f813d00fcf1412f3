import numpy as np
import pytest
from toy_head import LABELS

from factory.errors import JobError
from factory.pack.image import encode_mask
from factory.run.layouts import read_wanted, warn_of_missing
from factory.spec import LayoutSpec


def wanted(folder):
    return LayoutSpec(kind="layout", layouts=str(folder))


def test_masks_of_a_folder_are_layouts_by_name(tmp_path):
    for name, value in (("b", 1), ("a", 2)):
        (tmp_path / f"{name}.png").write_bytes(encode_mask(np.full((8, 8), value, np.uint8)))
    layouts = read_wanted(wanted(tmp_path), LABELS, 8)
    assert layouts.names == ("a", "b")
    assert layouts.masks(np.array([0, 1]))[:, 0, 0].tolist() == [2, 1]
    (line,) = warn_of_missing(layouts, LABELS)
    assert line == "dataset.sampling: no layout has ground, core; samples will hardly show it"


def test_a_file_instead_of_a_folder_is_told(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(JobError, match=r"a\.png: is no folder; give a folder of masks"):
        read_wanted(wanted(tmp_path / "a.png"), LABELS, 8)
