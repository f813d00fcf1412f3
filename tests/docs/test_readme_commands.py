"""Every `factory` line of the README's blocks, run in their order; settings shown as YAML are read."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from PIL import Image
from small_job import small_document
from typer.testing import CliRunner

import factory
from factory.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

STAND_INS = {
    "s3://bucket/cells": "out/cells",
    "num_samples=+1000": "num_samples=+2",
    "+1000": "+2",
    "nucleus=0.05..0.6": "cluster_01=0.0..0.9",
}
"""The README's words, and what a small dataset of the toy has in their place."""

RUN_ELSEWHERE = {
    "serve out/blood_cells": "a page that is served until it is stopped: tests/browser",
    "label cells.yaml": "a page that is served until it is stopped: tests/unit/label",
    "label jobs/blood_cells.yaml": "asks a person: tests/unit/cli/test_review.py",
    "label old_names.yaml": "needs a trained network: tests/unit/cli/test_review.py",
    "plan old_names.yaml": "shows what that found",
    "fit cells.yaml --report": "a report of KLiSH's tree: tests/unit/label",
}
"""Lines that are not run here, and why."""

TOLD = {
    "plan jobs/blood_cells.yaml": r"pairs +13 ",
    "status out/blood_cells": r"13 of 13|13 committed|13 samples|13 pairs",
    "verify out/blood_cells": r"3 shards, 13 samples: all good",
    "preview out/blood_cells": r"sheet\.png",
    "fit jobs/blood_cells.yaml": r"wrote cells\.safetensors",
    "replay out/blood_cells": r"000000010: 3 files made again byte for byte",
    "run job.yaml": r"15 pairs in 4 shards",
    "grow out/cells": r"15 pairs in 4 shards",  # the same step again adds nothing
    "doctor job.yaml": r"ok +output: exclusive create",
    "verify --deep out/cells": r"4 shards, 15 samples: all good",
    "repair out/cells": r"nothing to do",
    "gc out/cells": r"nothing to do",
    "subset out/cells": r"wrote \d+ samples",
    "merge out/cells": r"wrote 28 samples",
    "quarantine list": r"no shard is in quarantine",
}
"""What each line has to say of a dataset of 13 samples, and of one with two more."""


def lines():
    """The `factory` lines of blocks, in order, without comments."""
    blocks = re.findall(r"```(?:bash|console)\n(.*?)```", README, re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    found = re.findall(r"^(?:\$ )?factory (.*?)(?: +#.*)?$", text, re.MULTILINE)
    return [line for line in found if not line.startswith("[")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("readme")
    (place / "jobs").mkdir()
    jobs = {"jobs/blood_cells.yaml": "blood_cells", "job.yaml": "cells", "more.yaml": "more"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for seed, (path, name) in enumerate(jobs.items()):
            own = {"name": name, "output.uri": f"out/{name}", "dataset.latents": {"seed": seed}}
            Path(path).write_text(yaml.safe_dump(small_document(place, own)))
            assert CliRunner().invoke(app, ["run", path]).exit_code == 0
        yield place


@pytest.mark.slow
def test_every_command_does_what_stands_beside_it(folder):
    said = 0
    for shown in lines():
        if any(shown.startswith(start) for start in RUN_ELSEWHERE):
            continue
        line = shown
        for word, ours in STAND_INS.items():
            line = line.replace(word, ours)
        result = CliRunner().invoke(app, shlex.split(line))
        assert result.exit_code == 0, f"factory {line}\n{result.output}"
        wanted = [text for start, text in TOLD.items() if line.startswith(start)]
        assert len(wanted) == 1, f"nothing is said here of: factory {line}"
        assert re.search(wanted[0], result.output), f"factory {line}\n{result.output}"
        said += 1
    assert said == len(TOLD)
    with Image.open(folder / "sheet.png") as sheet:
        assert min(sheet.size) > 32
    assert (folder / "cells.safetensors").stat().st_size > 100


def test_no_line_is_left_out_without_a_reason():
    for start in RUN_ELSEWHERE:
        assert any(line.startswith(start) for line in lines()), start


YAML = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
LABELS = [text for text in YAML if "\ntree:" in text]


@pytest.mark.parametrize("text", [text for text in YAML if text not in LABELS])
def test_settings_that_are_shown_are_settings(text, tmp_path):
    shown = yaml.safe_load(text.replace("040f4362...", "f" * 64))
    document = small_document(tmp_path)
    for name, section in shown.get("dataset", shown).items():
        is_other_kind = not isinstance(section, dict) or "kind" in section
        own = {} if is_other_kind else document["dataset"].get(name, {})
        document["dataset"][name] = section if is_other_kind else own | section
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "labels.yaml").write_text(LABELS[0])
    loaded = factory.load_job(tmp_path / "job.yaml")
    for name in shown.get("dataset", shown):
        assert getattr(loaded.dataset, name), f"{name} is set"


def test_labels_that_are_shown_are_those_of_the_job():
    there = yaml.safe_load((ROOT / "jobs/blood_cells/labels.yaml").read_text(encoding="utf-8"))
    assert [yaml.safe_load(text) for text in LABELS] == [there]
