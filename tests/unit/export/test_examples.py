import numpy as np
import pytest
from typer.testing import CliRunner

import factory
from factory.cli.app import app
from factory.errors import JobError
from factory.export.examples import open_export
from factory.pack.image import decode_image
from factory.store import open_store

pytestmark = pytest.mark.slow


def test_examples_are_those_of_the_reader_split_by_split(divided, source, expected):
    keys = []
    for split in ("train", "val", "test"):
        dataset = factory.open_dataset(divided, split=split)
        keys += [sample.key for sample in dataset]
        for sample in dataset:
            example = expected[sample.key]
            assert example.split == split
            assert (example.mask == sample.mask).all()
            assert (decode_image(example.png()) == sample.image).all()
    assert list(expected) == keys
    assert source.num_left_out == 60 - len(keys) > 0


def test_near_samples_are_exported_if_they_are_asked_for_and_a_split_alone(divided):
    store = open_store(str(divided))
    whole = open_export(store, near_train=True)
    assert (len(list(whole)), whole.num_left_out) == (60, 0)
    assert {example.split for example in open_export(store, "val")} == {"val"}
    with pytest.raises(JobError, match="split: found 'dev'"):
        open_export(store, "dev")


def test_the_command_tells_how_many_were_left_out(divided, source, tmp_path):
    words = ["export", "folders", str(divided), "-o", str(tmp_path / "a")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert f"wrote {60 - source.num_left_out} images" in result.output
    assert f"left out {source.num_left_out} held-out images" in result.output
    result = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "b"), "--split", "train"])
    assert "wrote 48 images" in result.output
    assert "left out" not in result.output
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "file")])
    assert result.exit_code == 2
    assert "cannot write" in result.output


def test_the_command_names_the_class_that_a_format_leaves_out(divided, tmp_path):
    result = CliRunner().invoke(app, ["export", "yolo", str(divided), "-o", str(tmp_path / "a")])
    assert "left out the polygons of class cluster_00, which counts as background" in result.output


def test_an_image_of_another_format_is_written_as_png_where_png_is_needed(tmp_path):
    from small_job import make_small

    make_small(tmp_path, {"dataset.encode.image": "webp"})
    for example in open_export(open_store(str(tmp_path / "out"))):
        assert example.ending == "webp"
        assert np.array_equal(decode_image(example.png()), example.sample.image)
