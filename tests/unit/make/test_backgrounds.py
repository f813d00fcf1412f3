import numpy as np
import pytest

from factory.errors import DamageError
from factory.make.backgrounds import load_backgrounds, make_backgrounds, read_backgrounds
from factory.manifest.paths import BACKGROUNDS_PATH
from factory.pack.image import encode_mask
from factory.pack.named_pictures import encode_pictures
from factory.store import open_store

PICTURES = [(name, np.full((3, 4, 4), k * 50, np.uint8)) for k, name in enumerate("cab")]


def test_a_sample_s_index_and_the_seed_decide_its_background(tmp_path):
    found = make_backgrounds(PICTURES)
    assert found.names == ("a", "b", "c")
    assert make_backgrounds(PICTURES[::-1]) == found
    names, pictures = found.pictures(5, np.arange(60))
    assert set(names) == {"a", "b", "c"}
    values = {"c": 0, "a": 50, "b": 100}
    assert pictures[:, 0, 0, 0].tolist() == [values[name] for name in names]
    assert found.pictures(5, np.arange(30, 60))[0] == names[30:]
    assert found.pictures(6, np.arange(60))[0] != names


def test_the_file_is_read_back_and_equal_for_equal_pictures(tmp_path):
    store = open_store(str(tmp_path))
    found = make_backgrounds(PICTURES)
    with pytest.raises(DamageError, match=r"backgrounds\.tar: missing"):
        load_backgrounds(store, 4)
    store.create(BACKGROUNDS_PATH, found.encode())
    assert load_backgrounds(store, 4) == found


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a whole tar"),
        (make_backgrounds(PICTURES).encode()[:2000], "not backgrounds of this dataset"),
        (encode_pictures("layouts.json", ["a"], [encode_mask(np.zeros((4, 4), np.uint8))]), "name"),
        (encode_pictures("backgrounds.json", ["a"], [b"no picture"]), "not backgrounds"),
        (make_backgrounds([("a", np.zeros((3, 5, 4), np.uint8))]).encode(), "4 x 5 px, not 4 x 4"),
    ],
)
def test_a_file_that_is_not_backgrounds_of_this_dataset_is_told_in_one_line(tmp_path, data, words):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DamageError, match=words) as caught:
        read_backgrounds(tmp_path / "x", 4, source="there")
    assert "\n" not in str(caught.value)
