"""Documents that can lie are held against what they describe."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml
from golden.goldens import command_names

from factory.spec import METHODS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_architecture_names_every_file_and_no_other() -> None:
    text = (ROOT / "factory" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^- `([\w/]+\.py)`", text, re.MULTILINE))
    there = {
        path.relative_to(ROOT / "factory").as_posix() for path in (ROOT / "factory").rglob("*.py")
    }
    assert named == there


def test_ci_runs_the_readmes_test_command_word_for_word() -> None:
    block = re.search(r"Run the tests:\n\n```bash\n(.*?)```", README, re.DOTALL)
    assert block is not None
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert block[1] in ci


def test_ci_installs_the_browser_and_cannot_skip_its_tests() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    before, _, _ = ci.partition(".venv-test/bin/python -m pytest")
    assert "apt-get install -y --no-install-recommends chromium" in before
    assert "export FACTORY_BROWSER=required" in before


def test_every_job_named_in_the_readme_exists() -> None:
    jobs = set(re.findall(r"jobs/[\w]+\.(?:yaml|png)", README))
    assert jobs
    assert not [job for job in jobs if not (ROOT / job).is_file()]


def test_the_table_of_methods_in_the_readme_has_every_method_and_no_other() -> None:
    table = README.partition("| `segmenter.kind` |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert sorted(re.findall(r"`(\w+)`", " ".join(first_cells))) == sorted(METHODS)


def test_the_table_of_commands_in_the_readme_has_every_command_and_no_other() -> None:
    table = README.partition("| command | what it does |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    listed = re.findall(r"`([\w -]+)`", " ".join(first_cells))
    groups = {name.split()[0] for name in command_names() if " " in name}
    said_whole = groups & set(listed)
    there = [
        name for name in command_names() if name not in groups and name.split()[0] not in said_whole
    ]
    assert sorted(listed) == sorted([*there, *said_whole])


def test_every_command_shown_in_the_readme_exists() -> None:
    shown = set(re.findall(r"(?:^|[`$/] ?)factory ([a-z][a-z-]*)", README, re.MULTILINE))
    assert len(shown) > 15
    assert shown <= {name.split()[0] for name in command_names()}


def test_the_fast_command_is_the_same_wherever_it_stands() -> None:
    command = 'python -m pytest -n 2 tests/unit -m "not slow"'
    assert command in README
    assert command in CONTRIBUTING


def test_long_checks_named_for_contributors_are_those_that_are_there() -> None:
    named = set(re.findall(r"python -m (?:pytest )?(tests[./]long[./]\w+)", CONTRIBUTING))
    files = (ROOT / "tests" / "long").glob("*.py")
    there = {f"tests.long.{path.stem}" for path in files if path.stem != "conftest"}
    assert {name.replace("/", ".") for name in named} == there


def test_benches_named_for_contributors_are_those_that_are_there() -> None:
    named = set(re.findall(r"^- `tests/bench/(\w+)\.py`", CONTRIBUTING, re.MULTILINE))
    assert named == {path.stem for path in (ROOT / "tests" / "bench").glob("*.py")}


def test_the_citation_names_this_version_and_licence() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["title"], cited["version"]) == (project["name"], project["version"])
    assert cited["license"] == project["license"]


@pytest.mark.parametrize("repository", ["", "https://host/owner/maskfactory"])
def test_a_package_index_gets_no_link_that_leads_nowhere(repository: str) -> None:
    describe = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["describe"]
    shown = describe(README, repository)
    prose = re.sub(r"```.*?```", "", shown, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]*)\)", prose)
    assert [one for one in targets if not one.startswith(("https://", "#"))] == []
    ours = [one for one in targets if repository and one.startswith(repository)]
    assert len(ours) >= (20 if repository else 0)
    assert "Turns a pretrained image generator" in shown
    for one in ours:
        path = re.sub(r".*?/(?:blob|raw)/main/", "", one).partition("#")[0]
        assert (ROOT / path).exists(), one
