"""The how-to of ARCHITECTURE.md, done: a fifth fitted method in a copy of the package.

The copy gains the files that the how-to shows and one entry of the table, and nothing else in it
changes. The method is then planned, fitted, run, misspelt and imitated like one of ours.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_job import small_document

ROOT = Path(__file__).parents[2]
TABLE = Path("spec", "methods.py")
OTSU = {"kind": "otsu", "num_images": 16}


def shown_files() -> tuple[str, dict[Path, str]]:
    """The entry that the how-to shows, and the files by their place in the package."""
    text = (ROOT / "factory" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    how_to = text.partition("## How to add a method")[2].partition("\n## ")[0]
    entry = re.search(r"```python\n(    \"otsu\".*?)```", how_to, re.DOTALL)
    files = re.findall(
        r"\n`([\w/]+\.py)`[^`]*?(?:`[^`\n]+`[^`]*?)*\n```python\n(.*?)```", how_to, re.DOTALL
    )
    assert entry is not None
    return entry[1], {Path(name): code for name, code in files}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that has the method."""
    folder = tmp_path_factory.mktemp("clone")
    package = folder / "factory"
    shutil.copytree(ROOT / "factory", package, ignore=shutil.ignore_patterns("__pycache__"))
    entry, files = shown_files()
    for place, code in files.items():
        assert not (package / place).exists()
        (package / place).write_text(code, encoding="utf-8")
    table = (package / TABLE).read_text(encoding="utf-8")
    with_entry = table.replace(
        "METHODS: Mapping[str, Method] = {\n", f"METHODS: Mapping[str, Method] = {{\n{entry}"
    )
    assert with_entry != table
    (package / TABLE).write_text(with_entry, encoding="utf-8")
    return folder


def factory(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line of the copy, in its folder."""
    places = {"PYTHONPATH": str(clone), "XDG_CACHE_HOME": str(clone / "cache")}
    command = [sys.executable, "-m", "factory", *words]
    return subprocess.run(
        command, cwd=clone, env=os.environ | places, capture_output=True, text=True, check=False
    )


def job(clone: Path, name: str, segmenter: dict[str, Any]) -> str:
    """A job file in the folder of the copy, whose output is `name`."""
    document = small_document(clone, {"dataset.segmenter": segmenter, "output.uri": name})
    (clone / f"{name}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return f"{name}.yaml"


def refusals(clone: Path, name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What `factory plan` says of a section with `otsu`, and of the same mistake with one of ours."""
    told = []
    for segmenter in (ours, theirs):
        done = factory(clone, "plan", job(clone, name, segmenter))
        assert (done.returncode, done.stdout) == (2, "")
        told.append(done.stderr)
    return told


def test_the_how_to_shows_a_table_entry_and_its_three_files() -> None:
    entry, files = shown_files()
    assert sorted(map(str, files)) == ["fit/otsu.py", "segment/otsu.py", "spec/otsu.py"]
    assert all(f"factory.{str(place)[:-3].replace('/', '.')}:" in entry for place in files)


def test_the_files_that_the_how_to_shows_are_in_the_shape_of_the_house(clone: Path) -> None:
    ruff = str(Path(sys.executable).with_name("ruff"))
    files = [f"factory/{place}" for place in (*shown_files()[1], TABLE)]
    config = str(ROOT / "pyproject.toml")
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *words, "--config", config, *files],
            cwd=clone,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_it_is_planned_with_time_and_size_like_any_other(clone: Path) -> None:
    many = OTSU | {"num_images": 3 * 10**5}  # minutes: no warning of a long fit
    done = factory(clone, "plan", "--json", job(clone, "planned", many))
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["warnings"] == []
    assert plan["resolution_px"] == 32
    assert min(plan["pairs_per_s"], plan["bytes_in_all"]) > 0
    assert plan["seconds_left"] > 60, "the time of the fit is foreseen"


def test_a_misspelt_key_is_told_with_its_path_and_the_key_that_was_meant(clone: Path) -> None:
    told, builtin = refusals(
        clone,
        "misspelt",
        {"kind": "otsu", "num_image": 3},
        {"kind": "distil", "teacher": {"kind": "kmeans"}, "sample": 3},
    )
    assert told == (
        "error: misspelt.yaml: 1 problem\n"
        "  dataset.segmenter.num_image: unknown key; did you mean 'num_images'?\n"
    )
    assert builtin == told.replace("num_image", "sample")


def test_a_misspelt_key_in_it_as_a_teacher_is_told_with_its_whole_path(clone: Path) -> None:
    teacher = {"kind": "otsu", "zzz": 3}
    done = factory(clone, "plan", job(clone, "taught", {"kind": "distil", "teacher": teacher}))
    assert done.stderr == (
        "error: taught.yaml: 1 problem\n"
        "  dataset.segmenter.teacher.zzz: unknown key; known here: clean, confidence, kind, num_images, "
        "seed\n"
    )


def test_it_is_fitted_and_run_and_its_dataset_is_whole(clone: Path) -> None:
    name = job(clone, "made", OTSU)
    done = factory(clone, "fit", name)
    assert (done.returncode, done.stdout) == (0, "fitted otsu\n"), done.stderr
    done = factory(clone, "run", name)
    assert done.returncode == 0, done.stderr
    assert "fit_started" not in done.stderr, "what `fit` found is used"
    labels = json.loads((clone / "made" / "labels.json").read_text())
    assert [label["name"] for label in labels["labels"]] == ["cluster_00", "cluster_01"]
    assert labels["fitted_on"]["num_images"] == 16
    assert factory(clone, "verify", "--deep", "--regenerate", "4", "made").returncode == 0


def test_distil_can_imitate_it(clone: Path) -> None:
    segmenter = {"kind": "distil", "teacher": OTSU, "samples": 16, "min_agreement": 0}
    done = factory(clone, "run", job(clone, "imitated", segmenter))
    assert done.returncode == 0, done.stderr


def test_every_list_of_methods_has_it(clone: Path) -> None:
    line = "otsu                Dark and light pixels, told apart by one threshold.\n"
    assert line in factory(clone, "segmenters").stdout
    assert factory(clone, "schema", "schemas").returncode == 0
    assert '"OtsuSpec"' in (clone / "schemas" / "job.schema.json").read_text()
    ask = "from factory.spec import OtsuSpec; print(OtsuSpec(num_images=3).kind)"
    command = [sys.executable, "-c", ask]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True)
    assert done.stdout == "otsu\n"
