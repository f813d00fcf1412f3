"""What every command has in common: how its arguments are written, and JSON where it answers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from families import save_weights
from small_job import make_small
from typer.testing import CliRunner

from factory.cli.app import app

JOB = Path(__file__).parents[3] / "jobs/blood_cells.yaml"
_ARGUMENT = re.compile(r"[A-Z+][A-Z0-9_]*")
_OPTION = re.compile(r"[A-Z][A-Z0-9_]*(=[A-Z][A-Z0-9_]*(,\.\.\.)?)?")


def commands():
    """Every command by its words, with its parameters."""
    pending = [((), typer.main.get_command(app))]
    while pending:
        words, command = pending.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(words), command.params
        else:
            pending += [((*words, name), one) for name, one in inner.items()]


def test_arguments_are_in_capitals_in_the_help_of_every_command():
    found = list(commands())
    assert len(found) > 35
    wrong = [
        (name, parameter.name, parameter.metavar)
        for name, parameters in found
        for parameter in parameters
        if parameter.param_type_name == "argument"
        and not _ARGUMENT.fullmatch(parameter.metavar or "")
    ]
    assert wrong == []


def test_names_for_values_of_options_are_in_capitals_too():
    wrong = [
        (name, parameter.name, parameter.metavar)
        for name, parameters in commands()
        for parameter in parameters
        if parameter.param_type_name == "option"
        and parameter.metavar is not None
        and not _OPTION.fullmatch(parameter.metavar)
    ]
    assert wrong == []


WITHOUT_JSON = {
    "serve": "a service, which answers over HTTP until it is stopped",
    "paint": "a page, until it is stopped",
}
"""Commands without `--json`, each with the reason."""


def test_every_other_command_answers_in_json():
    without = {name for name, parameters in commands() if not _takes_json(parameters)}
    assert without == set(WITHOUT_JSON)


def _takes_json(parameters):
    return any("--json" in parameter.opts for parameter in parameters)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A small dataset, and somebody's checkpoint."""
    folder = tmp_path_factory.mktemp("here")
    make_small(folder)
    save_weights(folder, "pggan_genforce_64").rename(folder / "weights.pt")
    return folder


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("export folders out -o folders", {"format": "folders", "images": 13}),
        ("export coco-semantic out -o coco", {"format": "coco-semantic", "images": 13}),
        ("subset out -o half --min-confidence 0", {"samples": 13, "shards": 1}),
        ("merge out -o one", {"samples": 13, "shards": 1}),
        ("preview out", {"output": "preview.png", "samples": 13}),
        ("convert weights.pt -o weights.safetensors", {"family": "pggan", "critic": False}),
        ("schema files", {"output": "files"}),
    ],
)
def test_an_answer_is_one_object_of_json(here, monkeypatch, command, told):
    monkeypatch.chdir(here)
    result = CliRunner().invoke(app, [*command.split(), "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert told.items() <= answer.items()


@pytest.mark.parametrize(
    "command",
    [
        "export coco nowhere -o x",
        "subset nowhere -o x",
        "merge nowhere -o x",
        "convert no.pt -o x",
        "train nowhere -o x",
        "train-translation nowhere -o x",
        "translate no.safetensors no.png -o x",
        "train-generator no.yaml",
        "pack-training no.yaml -o x",
        "sample no.yaml",
        "edit nowhere 000000001 --mask x.png",
        "edit nowhere 000000001 --page",
        "label no.yaml",
    ],
)
def test_so_is_a_refusal(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*command.split(), "--json"])
    assert result.exit_code in (2, 6)
    refusal = json.loads(result.stderr)
    assert refusal["message"]
    assert "Error" not in refusal["message"]


@pytest.mark.parametrize(
    "command",
    [
        "export folders out -o",
        "subset out -o",
        "merge out -o",
        "train out --steps 1 -o",
        "train-translation out --steps 1 -o",
        "translate translator.safetensors mask.png -o",
        "eval model net --on out --report",
        "preview out -o",
        "sample shipped:blood_cells -o",
        "edit out 000000000 --mask mask.png -o",
        "edit out 000000000 --page --no-open -o",
        "replay out 000000000 -o",
        "convert cells.safetensors -o",
        "fit shipped:blood_cells -o",
        "fit shipped:blood_cells --report",
        "init -o",
        f"label {JOB} --no-open -o",
        "judge-generator training.yaml weights.pt --sheet",
        "pack-training training.yaml -o",
    ],
)
def test_nothing_else_is_written_into_a_dataset(here, monkeypatch, command):
    monkeypatch.chdir(here)
    before = sorted(path.name for path in (here / "out").iterdir())
    for place, told in (("out", "-o: out holds"), ("out/data/more", "-o: out/data/more lies in")):
        result = CliRunner().invoke(app, [*command.split(), place])
        assert result.exit_code == 2, result.output
        assert result.output.count("\n") == 1
        if command.startswith(("subset", "merge")):  # these may resume a dataset of their own there
            assert re.search("none of the sources|lies in a dataset; choose", result.output)
        else:
            option = command.split()[-1]
            assert (
                f"error: {told.replace('-o', option)} a dataset; choose a path outside of it"
                in result.output
            )
    assert sorted(path.name for path in (here / "out").iterdir()) == before
    assert not (here / "out/data/more").exists()


@pytest.mark.parametrize(
    "command", ["train out -o file/net --steps 1", "train-translation out -o file --steps 1"]
)
def test_a_file_is_no_folder_of_a_training(here, monkeypatch, command):
    monkeypatch.chdir(here)
    (here / "file").write_text("mine", encoding="utf-8")
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "cannot write" in result.output
    assert (here / "file").read_text(encoding="utf-8") == "mine"


def test_status_and_help_load_nothing_that_takes_long():
    heavy = "torch", "ray", "boto3", "PIL", "starlette", "pyarrow.compute", "factory.pack.image"
    code = (
        "import sys, factory.cli.app, factory.dataset.quarantine, factory.dataset.status\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
