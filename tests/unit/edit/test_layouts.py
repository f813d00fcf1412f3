import io
import json
import tarfile

import numpy as np
import pytest

from factory.edit.layouts import make_layouts, missing_classes, read_layouts
from factory.errors import DamageError
from factory.pack.image import encode_mask
from factory.pack.tar import encode_end, encode_files

MASKS = [("b", np.full((4, 4), 2, np.uint8)), ("a", np.array([[0, 1, 255, 0]] * 4, np.uint8))]


def read(path, data, num_classes=3, side=4):
    path.write_bytes(data)
    return read_layouts(path, num_classes=num_classes, side=side, source="there")


def test_layouts_are_in_the_order_of_names_and_taken_in_turn(tmp_path):
    layouts = read(tmp_path / "x", make_layouts(MASKS).encode())
    assert layouts == make_layouts(MASKS[::-1])
    assert layouts.names == ("a", "b")
    found = layouts.masks(np.array([0, 1, 2]))
    assert np.array_equal(found, np.stack([MASKS[1][1], MASKS[0][1], MASKS[1][1]]))
    with tarfile.open(tmp_path / "x") as tar:
        assert tar.getnames() == ["layouts.json", "000000.png", "000001.png"]


def test_classes_that_no_layout_has_are_named():
    assert missing_classes(make_layouts(MASKS), ["g", "s", "d", "c"]) == ["c"]
    assert missing_classes(make_layouts(MASKS), ["g", "s", "d"]) == []


def packed(*files):
    data = encode_files(files)
    return data + encode_end(len(data))


GOOD = encode_mask(MASKS[0][1])
DAMAGED = {
    "nothing": b"",
    "cut": make_layouts(MASKS).encode()[:1500],
    "no names": packed(("000000.png", GOOD)),
    "other names": packed(("layouts.json", b'["a", "b"]'), ("000000.png", GOOD)),
    "names that are numbers": packed(("layouts.json", b"[3]"), ("000000.png", GOOD)),
    "none": packed(("layouts.json", b"[]")),
    "no JSON": packed(("layouts.json", b"[" * 99999), ("000000.png", GOOD)),
    "another size": packed(
        ("layouts.json", b'["a"]'), ("000000.png", encode_mask(np.zeros((4, 5), np.uint8)))
    ),
    "a class too many": packed(
        ("layouts.json", b'["a"]'), ("000000.png", encode_mask(np.full((4, 4), 3, np.uint8)))
    ),
    "empty": packed(
        ("layouts.json", b'["a"]'), ("000000.png", encode_mask(np.full((4, 4), 255, np.uint8)))
    ),
    "no picture": packed(("layouts.json", b'["a"]'), ("000000.png", b"no picture")),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_is_not_layouts_of_this_dataset_is_told_in_one_line(name, tmp_path):
    with pytest.raises(DamageError, match="there: not layouts of this dataset") as caught:
        read(tmp_path / "x", DAMAGED[name])
    assert "\n" not in str(caught.value)


def test_names_are_shortened_and_the_file_says_them(tmp_path):
    layouts = make_layouts([("n" * 200, MASKS[0][1])])
    with tarfile.open(fileobj=io.BytesIO(layouts.encode())) as tar:
        assert json.load(tar.extractfile("layouts.json")) == ["n" * 64]
