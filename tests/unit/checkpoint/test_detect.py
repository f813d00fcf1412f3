"""A file is what it begins with, whatever it is called."""

import io
import pickle

import pytest
import torch
from safetensors.torch import save

from factory.checkpoint.files.detect import FileKind, find_kind
from factory.checkpoint.pickles.source import Stream
from factory.errors import WeightsError


def stream_of(data, tmp_path):
    return Stream.of_bytes(memoryview(data), tmp_path / "anything.jpg")


def saved(**options):
    file = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (saved(), FileKind.TORCH_ZIP),
        (saved(_use_new_zipfile_serialization=False), FileKind.TORCH_STREAM),
        (save({"a": torch.zeros(2)}), FileKind.SAFETENSORS),
        *((pickle.dumps({"a": 1}, protocol), FileKind.PICKLE) for protocol in range(6)),
    ],
)
def test_every_format_that_is_read_is_told_by_its_first_bytes(data, kind, tmp_path):
    assert find_kind(stream_of(data, tmp_path)) is kind


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"\xef\xbb\xbf\n <!doctype html>", "an HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1", "a git-LFS pointer instead of the file"),
        (b"\x1f\x8b\x08" + bytes(20), "a packed archive"),
        (b"\x80\x09" + bytes(20), "a broken file, 80 09"),
        (b"PK\5\6" + bytes(20), "a broken file"),
        (b"GIF89a" + bytes(20), "an unknown format"),
    ],
)
def test_what_is_no_weights_file_is_named_with_what_to_do(data, words, tmp_path):
    with pytest.raises(WeightsError) as caught:
        find_kind(stream_of(data, tmp_path))
    assert words in str(caught.value)
    assert "safetensors, torch.save files and network pickles are allowed; " in str(caught.value)
