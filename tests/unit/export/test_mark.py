import json
import os

import pytest
from small_job import make_small
from typer.testing import CliRunner

import factory
from factory.cli.app import app
from factory.errors import JobError
from factory.export.examples import open_export
from factory.export.mark import MARK_NAME, check_finished, marked
from factory.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    make_small(folder, {"dataset.latents.seed": 5})
    return folder / "out"


def export(layout, dataset, folder, *more):
    return CliRunner().invoke(app, ["export", layout, str(dataset), "-o", str(folder), *more])


def files_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(result, *words):
    assert result.exit_code == 2, result.output
    assert result.output.count("\n") == 1
    assert "exports are not mixed" in result.output
    for word in words:
        assert word in result.output


@pytest.mark.parametrize("layout", ["folders", "hf", "coco-semantic", "dali"])
def test_the_same_export_again_gives_the_same_files_and_no_other_gets_in(
    layout, divided, other, tmp_path
):
    folder = tmp_path / "made"
    assert export(layout, divided, folder).exit_code == 0
    made = files_in(folder)
    assert json.loads(made[MARK_NAME])["finished"] is True
    refused(export(layout, other, folder), "another dataset")
    another = "voc" if layout != "voc" else "folders"
    refused(export(another, divided, folder), f"another format ({layout}, not {another})")
    refused(export(layout, divided, folder, "--split", "train"), "other samples of this dataset")
    refused(export(layout, divided, folder, "--near-train"), "other samples of this dataset")
    assert files_in(folder) == made
    assert export(layout, divided, folder).exit_code == 0
    assert files_in(folder) == made


def test_a_dataset_that_has_grown_is_not_exported_over_what_it_was(tmp_path):
    make_small(tmp_path)
    assert export("folders", tmp_path / "out", tmp_path / "made").exit_code == 0
    make_small(tmp_path, {"dataset.num_samples": 16})
    refused(export("folders", tmp_path / "out", tmp_path / "made"), "it has grown since")


@pytest.mark.parametrize("name", ["notes.txt", "images"])
def test_a_folder_with_files_of_somebody_s_is_left_alone(name, other, tmp_path):
    (tmp_path / name).mkdir() if name == "images" else (tmp_path / name).write_text("mine")
    refused(export("folders", other, tmp_path), f"holds {name}, which no export wrote")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("mark", ["", "[]", "{}", "\x00", '{"format": 3, "dataset_id": []}'])
def test_a_mark_that_is_none_is_refused(mark, other, tmp_path):
    (tmp_path / MARK_NAME).write_text(mark)
    refused(export("folders", other, tmp_path))


def test_a_pipe_in_place_of_a_mark_does_not_block(other, tmp_path):
    os.mkfifo(tmp_path / MARK_NAME)
    refused(export("folders", other, tmp_path), "which no export wrote")
    check_finished(tmp_path, "--on")


def test_hidden_files_of_other_programs_are_no_reason(other, tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    assert export("folders", other, tmp_path).exit_code == 0


def test_an_export_that_stops_in_the_middle_is_told_until_it_is_run_again(other, tmp_path):
    source = open_export(open_store(str(other)))

    def die():
        with marked(tmp_path, source, "folders"):
            (tmp_path / "images").mkdir()
            raise KeyError

    with pytest.raises(KeyError):
        die()
    with pytest.raises(JobError, match="an export that did not finish; run `factory export`"):
        check_finished(tmp_path, "--on")
    (tmp_path / "annotations").mkdir()
    for left in (".annotations.json.0123abcd", "annotations/.train.json.0123abcd"):
        (tmp_path / left).write_text("half of a file")
    with pytest.raises(JobError, match="another format"), marked(tmp_path, source, "voc"):
        pass
    assert export("folders", other, tmp_path).exit_code == 0
    check_finished(tmp_path, "--on")
    assert [path.name for path in tmp_path.rglob(".*")] == [MARK_NAME]
    assert len(list((tmp_path / "masks").rglob("*.png"))) == len(factory.open_dataset(other))


def test_a_refused_format_leaves_the_folder_to_the_one_that_the_refusal_names(other, tmp_path):
    folder = tmp_path / "made"
    refusal = export("coco", other, folder)
    assert refusal.exit_code == 2
    assert "`coco-semantic`" in refusal.output
    assert not folder.exists()
    folder.mkdir()
    assert export("coco", other, folder).exit_code == 2
    assert [*folder.iterdir()] == []
    assert export("coco-semantic", other, folder).exit_code == 0
