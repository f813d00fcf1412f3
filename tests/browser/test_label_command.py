"""`factory label` and `factory fit --report` as commands."""

import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from playwright.sync_api import expect
from small_job import small_document
from small_label import KLISH, fitted_tree
from typer.testing import CliRunner

from factory.cli.app import app
from factory.cli.label import load_to_name
from factory.label.material import load_without_labels
from factory.segment.tree.labels_file import read_labels_file


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_job(tmp_path, {})
    return tmp_path


def write_job(folder, changes):
    fit = {"kind": "klish"} if "fitted" in changes else KLISH
    document = small_document(folder, {"dataset.segmenter": fit | changes})
    (folder / "job.yaml").write_text(yaml.safe_dump(document))


def label(*arguments):
    return CliRunner().invoke(app, ["label", *arguments])


@pytest.mark.parametrize("is_job", [True, False])
def test_from_the_command_to_a_file_that_a_job_takes(here, visits, is_job):
    (here / "cells.safetensors").write_bytes(fitted_tree())
    what = ["job.yaml"] if is_job else ["cells.safetensors", "job.yaml"]
    process = subprocess.Popen(
        [sys.executable, "-m", "factory", "label", *what, "--no-open", "-o", "names.yaml"],
        stdout=subprocess.PIPE,
        text=True,
    )
    address = process.stdout.readline().strip()
    assert process.stdout.readline() == "names are saved to names.yaml; Ctrl+C ends\n"
    page = visits.open(address)
    expect(page.locator("#pictures")).to_have_attribute("data-cut", re.compile(r"\d+"))
    page.locator("#classes input[type=text]").nth(0).fill("ground")
    page.keyboard.press("Control+s")
    expect(page.locator("#news")).to_contain_text("Saved ")
    visits.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.stdout.close()
    assert read_labels_file(here / "names.yaml").labels[0].name == "ground"
    source = {} if is_job else {"fitted": "cells.safetensors"}
    write_job(here, source | {"labels": "names.yaml"})
    result = CliRunner().invoke(app, ["run", "job.yaml"])
    assert result.exit_code == 0, result.output
    assert '"ground"' in (here / "out" / "labels.json").read_text()


def test_names_go_to_the_file_that_the_job_names_even_before_it_is_there(here):
    write_job(here, {"labels": "names.yaml"})
    spec, labels = load_without_labels(here / "job.yaml", None)
    assert labels == here / "names.yaml"
    assert spec.dataset.segmenter.labels is None


def test_a_file_that_is_not_there_is_told(here):
    result = label("cell.safetensors")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: cell.safetensors: no such file; give a segmenter file or a job file\n"
    )


def test_names_of_a_shipped_job_are_saved_here_and_not_where_it_is_installed(here):
    spec, labels = load_to_name(Path("shipped:blood_cells"), None, None)
    assert (spec.name, labels) == ("blood_cells", Path("labels.yaml"))
    assert load_to_name(Path("shipped:blood_cells"), None, Path("own.yaml"))[1] == Path("own.yaml")
    assert "no job of that name is shipped" in label("shipped:cats").stderr


def test_a_segmenter_file_alone_is_not_enough(here):
    (here / "cells.safetensors").write_bytes(fitted_tree())
    result = label("cells.safetensors")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: cells.safetensors: a segmenter file does not contain its generator; add the job: "
        "factory label cells.safetensors JOB\n"
    )


def test_a_tree_of_another_generator_is_refused(here):
    (here / "cells.safetensors").write_bytes(fitted_tree())
    text = (here / "job.yaml").read_text()
    text = text.replace("kind: shapes", "kind: stylegan2\n    weights: shipped:blood_cells")
    (here / "job.yaml").write_text(text)
    result = label("cells.safetensors", "job.yaml")
    assert result.exit_code == 2
    assert (
        "cells.safetensors is fitted for generator shapes, the job has stylegan2" in result.stderr
    )


@pytest.mark.parametrize("command", [["label"], ["fit", "--report", "out"]])
def test_a_job_without_a_merge_tree_is_refused_before_it_is_fitted(here, command):
    (here / "job.yaml").write_text(yaml.safe_dump(small_document(here)))
    result = CliRunner().invoke(app, [*command, "job.yaml"])
    assert result.exit_code == 2
    assert result.stderr == (
        "error: job.yaml: dataset.segmenter.kind: found 'kmeans'; only klish has a merge tree to look "
        "at\n"
    )


def test_the_report_of_a_fit(here, visits):
    result = CliRunner().invoke(app, ["fit", "job.yaml", "--report", "seen"])
    assert result.exit_code == 0, result.output
    assert "wrote seen/report.html and seen/report.png" in result.stdout
    assert Image.open(io.BytesIO((here / "seen" / "report.png").read_bytes())).width == 1096
    page = visits.open((here / "seen" / "report.html").as_uri())
    expect(page.locator("#count")).to_have_text(re.compile(r"\d+ classes"))


def test_a_report_that_cannot_be_written_is_said(here):
    (here / "seen").write_text("")
    result = CliRunner().invoke(app, ["fit", "job.yaml", "--report", "seen"])
    assert result.exit_code == 2
    assert "error: seen: cannot write (File exists); give another folder" in result.stderr
