"""A weights file of any format is parsed as data, and what cannot be read is told in one line."""

import os
import pickle

import assemble as a
import pytest
import torch
from safetensors.torch import save_file

from factory.checkpoint.files.content import open_content, unreadable
from factory.errors import WeightsError

STATE = {"w": torch.arange(4.0)}


def written(folder, data):
    path = folder / "x.pt"
    path.write_bytes(data)
    return path


def test_a_safetensors_file_gives_tensors_and_metadata(tmp_path):
    save_file(STATE, tmp_path / "x", {"family": "dcgan"})
    content = open_content(tmp_path / "x")
    assert (content.layout, content.metadata) == ("safetensors", {"family": "dcgan"})
    assert content.found is None
    assert torch.equal(content.tensors["w"], STATE["w"])


@pytest.mark.parametrize(("layout", "zipped"), [("torch zip", True), ("legacy torch file", False)])
def test_files_of_torch_give_an_object_of_inert_parts(tmp_path, layout, zipped):
    torch.save(STATE, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    content = open_content(tmp_path / "x")
    assert (content.layout, content.tensors) == (layout, None)
    assert content.found["w"].size == (4,)


def test_a_bare_pickle_ends_where_its_file_ends(tmp_path):
    content = open_content(written(tmp_path, pickle.dumps({"epoch": 3})))
    assert (content.layout, content.found) == ("pickle", {"epoch": 3})
    with pytest.raises(WeightsError, match="bytes behind the end of the pickle"):
        open_content(written(tmp_path, a.whole(b"}") + b"x"))


def test_objects_of_libraries_are_tolerated_unless_strictness_is_asked_for(tmp_path):
    path = written(tmp_path, a.whole(a.mapping(opt=a.call(a.name("torch.optim.adam", "Adam")))))
    assert str(open_content(path).found["opt"].token) == "torch.optim.adam.Adam"
    with pytest.raises(WeightsError, match=r"torch\.optim\.adam\.Adam"):
        open_content(path, strict=True)


def test_tensors_may_together_be_little_larger_than_their_file(tmp_path):
    path = written(tmp_path, pickle.dumps({}))
    assert open_content(path).budget.tensor_bytes == path.stat().st_size + 2**20


def test_an_empty_file_is_told(tmp_path):
    with pytest.raises(WeightsError, match=r"x\.pt"):
        open_content(written(tmp_path, b""))


def test_only_ordinary_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(WeightsError, match="not an ordinary file"):
            open_content(path)


def test_a_file_that_is_missing_is_one_line_and_an_address_is_told_from_it(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot be read \(no such file or directory\)"):
        open_content(tmp_path / "absent.pt")
    error = unreadable((tmp_path / "x").relative_to(tmp_path), ValueError("Embedded null byte"))
    assert str(error) == "x: cannot be read (embedded null byte); check the path"
    with pytest.raises(WeightsError) as caught:
        open_content(tmp_path.relative_to(tmp_path) / "https://example.org/g.pt")
    assert str(caught.value) == (
        "https://example.org/g.pt: an address; files on this machine; download it, and give the "
        "file's path"
    )
