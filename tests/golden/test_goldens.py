"""If one of these fails on purpose, run `python tests/golden/regenerate.py` and look at the change."""

import json
from pathlib import Path

import pytest

from golden.goldens import command_names, help_file, help_of, make_goldens

HERE = Path(__file__).parent
NAMES = ["settings.txt", "exit_codes.txt", "columns.txt", "help/factory.txt"]


@pytest.fixture(scope="module")
def made():
    return make_goldens()


def kept(name):
    return (HERE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_what_people_and_scripts_rely_on_is_what_it_was(made, name):
    assert made[name] == kept(name)


@pytest.mark.parametrize("command", command_names())
def test_the_help_of_a_command_is_what_it_was(command):
    assert help_of(*command.split()) == kept(help_file(command))


def test_no_golden_is_left_of_a_command_that_is_gone(made):
    assert {f"help/{path.name}" for path in (HERE / "help").iterdir()} == {
        name for name in made if name.startswith("help/")
    }


@pytest.mark.parametrize(
    "part", ["dataset_id", "random_numbers", "tar_sha256", "shards", "class_px"]
)
def test_the_tiny_dataset_is_what_it_was(made, part):
    assert json.loads(made["tiny.json"])[part] == json.loads(kept("tiny.json"))[part]
