"""Documents that can lie are held against what they describe."""

import re
from pathlib import Path

import yaml

from factory.spec import METHODS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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


def test_the_front_matter_of_kubernetes_files_is_yaml() -> None:
    document = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text())
    assert document["spec"]["entrypoint"].startswith("factory run ")
