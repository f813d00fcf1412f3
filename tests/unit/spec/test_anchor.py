"""A relative path in a job means the folder of the job's file, wherever the command runs."""

import re
from pathlib import Path

import pytest

from factory.spec import JobSpec
from factory.spec.anchor import anchor_paths
from factory.spec.methods import METHODS
from factory.spec.read import load_job
from factory.spec.segmenters import settings_class

JOBS = Path(__file__).parents[3] / "jobs"
GENERATOR = {"kind": "stylegan2"}


def anchored(folder, **dataset):
    document = {"dataset": {"generator": GENERATOR, **dataset}}
    anchor_paths(document, JobSpec, folder)
    return document["dataset"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A job's folder with some files, beside the folder that commands run in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    made = tmp_path / "jobs"
    (made / "masks").mkdir(parents=True)
    for name in ("net.pt", "tree.safetensors", "cells-003.tar"):
        (made / name).write_bytes(b"x")
    return made


@pytest.mark.parametrize(
    ("section", "keys", "value"),
    [
        ({"generator": {"kind": "dcgan", "weights": "net.pt"}}, ("generator", "weights"), "net.pt"),
        (
            {"segmenter": {"kind": "klish", "fitted": "tree.safetensors"}},
            ("segmenter", "fitted"),
            "tree.safetensors",
        ),
        ({"segmenter": {"kind": "alpha", "network": "net.pt"}}, ("segmenter", "network"), "net.pt"),
        (
            {"segmenter": {"kind": "alpha", "images": "cells-{000..011}.tar"}},
            ("segmenter", "images"),
            "cells-{000..011}.tar",
        ),
        (
            {"segmenter": {"kind": "distil", "teacher": {"kind": "direction", "light": "net.pt"}}},
            ("segmenter", "teacher", "light"),
            "net.pt",
        ),
        ({"sampling": {"kind": "layout", "layouts": "masks"}}, ("sampling", "layouts"), "masks"),
        ({"compose": {"background": "folder", "folder": "masks"}}, ("compose", "folder"), "masks"),
        ({"edit": {"masks": "masks"}}, ("edit", "masks"), "masks"),
        (
            {"agreement": {"others": [{"method": {"kind": "direction", "dark": "net.pt"}}]}},
            ("agreement", "others", 0, "method", "dark"),
            "net.pt",
        ),
    ],
)
def test_what_lies_beside_the_job_is_found_there(folder, section, keys, value):
    found = anchored(Path("../jobs"), **section)
    for key in keys:
        found = found[key]
    assert found == f"../jobs/{value}"


@pytest.mark.parametrize(
    "weights",
    [
        "elsewhere.pt",
        "/tmp/net.pt",
        "shipped:blood_cells",
        "https://a.org/net.pt",
        "",
        "a" * 5000,
        "n\0",
    ],
)
def test_what_does_not_lie_there_stays_as_it_was_written(folder, weights):
    found = anchored(folder, generator={"kind": "dcgan", "weights": weights})
    assert found["generator"]["weights"] == weights


@pytest.mark.parametrize("odd", [None, 3, ["net.pt", 4], {"weights": "net.pt"}, {0: [1]}, [[]]])
def test_odd_values_are_left_to_the_check_of_settings(folder, odd):
    anchored(folder, generator=odd, segmenter=odd, sampling=odd)
    anchored(
        folder, generator={"kind": odd, "weights": odd}, segmenter={"kind": odd, "fitted": odd}
    )


def test_the_folder_of_the_job_goes_before_the_folder_that_the_command_runs_in(folder):
    Path("net.pt").write_bytes(b"other")
    found = anchored(folder, generator={"kind": "dcgan", "weights": "net.pt"})
    assert Path(found["generator"]["weights"]).read_bytes() == b"x"


def test_every_file_that_a_method_reads_is_marked_as_a_path():
    for kind, method in METHODS.items():
        fields = settings_class(kind).model_fields
        for name in {*method.files, *method.inlined, method.fitted_file} - {""}:
            marks = f"{fields[name].metadata} {fields[name].annotation}"
            assert re.search("IsInputPath", marks), f"{kind}.{name}"


def test_the_shipped_job_runs_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load_job(JOBS / "blood_cells.yaml").dataset.segmenter
    assert Path(found.fitted).is_file()
    assert found.labels.labels[2].name == "nucleus"
