"""Every line that a command prints is fit for a terminal, whoever made the names in it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_job import make_small
from typer.testing import CliRunner

from factory.cli.app import app

CLI = Path(__file__).parents[3] / "factory" / "cli"
EVIL = "cell\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"


@pytest.fixture
def renamed(tmp_path):
    """A dataset whose labels and receipts were given names that would drive a terminal."""
    make_small(tmp_path)
    labels = tmp_path / "out/labels.json"
    document = json.loads(labels.read_text())
    document["labels"][0]["name"] = EVIL
    labels.write_text(json.dumps(document))
    receipt = tmp_path / "out/receipts/0000/000000.json"
    document = json.loads(receipt.read_text())
    document["num_rejected"] = {EVIL: 1}
    document["worker"] = document["device"] = EVIL
    receipt.write_text(json.dumps(document))
    return tmp_path / "out"


@pytest.mark.parametrize(
    "command", ["status", "verify", "verify --deep", "repair", "gc", "quarantine list", "preview"]
)
def test_no_name_in_a_dataset_drives_the_terminal(renamed, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = command.split()
    arguments = [*words[:1], str(renamed), *words[1:]]
    if words[0] == "quarantine":
        arguments = [*words, str(renamed)]
    result = CliRunner().invoke(app, arguments)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", result.output)
    if command == "status":
        assert r"cell\x1b]0;owned\x07\x1b[2J\u202e\x9b31m" in result.output


def test_commands_print_through_the_one_function_that_makes_text_fit():
    """The exceptions: JSON, which escapes by itself, and the secret addresses of pages."""
    found = {
        f"{path.name}: {line.strip()}"
        for path in CLI.glob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"typer\.(s?echo|secho)\(|\bprint\(", line)
    }
    assert found == {
        "shared.py: typer.echo(shown(text), err=err)",
        "shared.py: typer.echo(json.dumps(redact_values(value), indent=indent), err=err)",
        "label.py: typer.echo(address)  # unredacted: its token opens this run's page",
        "edit.py: typer.echo(address)  # unredacted: its token opens this run's page",
        "paint.py: typer.echo(address)  # unredacted: its token opens this run's page",
    }


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("export", "vok", "nowhere", "-o", "x"),
            "FORMAT: found 'vok'; one of coco, folders, nnunet, voc, hf, yolo, coco-semantic, "
            "coco-polygons, coco-panoptic, label-studio, dali; did you mean 'voc'?",
        ),
        (
            ("sample", "nowhere.yaml", "--pick", "nix"),
            "--pick: found 'nix'; one of diverse, random, by-class",
        ),
    ],
)
def test_a_choice_that_is_none_is_one_line_with_all_that_may_stand_there(words, line):
    refused = CliRunner().invoke(app, list(words))
    assert (refused.exit_code, refused.stderr) == (2, f"error: {line}\n")


@pytest.mark.slow
def test_whoever_reads_a_line_and_closes_the_pipe_sees_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        command = [sys.executable, "-m", "factory", "explain", "dataset"]
        ended = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"")
