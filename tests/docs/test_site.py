"""The documentation as a site: it builds without a broken link, and its reference is whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from golden.goldens import command_names

from factory.spec.methods import METHODS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    config = str(ROOT / "deploy" / "site" / "mkdocs.yml")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-q",
        "-f",
        config,
        "-d",
        str(folder),
    ]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def page(site: Path, name: str) -> str:
    return (site / name / "index.html").read_text("utf-8")


def test_every_page_of_the_documentation_is_on_it(site):
    for path in (ROOT / "factory" / "docs").glob("*.md"):
        assert "<h1" in page(site, path.stem), path
    for name in ("deploy", "architecture", "contributing", "security", "changelog"):
        assert len(page(site, name)) > 5000, name


def test_the_reference_has_every_command_method_setting_and_exit_code(site):
    commands, settings = page(site, "reference/commands"), page(site, "reference/settings")
    groups = {name.split()[0] for name in command_names() if " " in name}
    for name in set(command_names()) - groups:
        assert f"factory {name}</code>" in commands, name
    for kind in METHODS:
        assert f"segmenter.kind: {kind}" in settings, kind
    for setting in (
        "num_samples",
        "truncation_psi",
        "serve_port",
        "single_writer",
        "min_agreement",
    ):
        assert f"<code>{setting}</code>" in settings, setting
    codes = page(site, "reference/exit_codes")
    for code, error in ((2, "JobError"), (5, "IncompleteError"), (75, "Interrupted")):
        assert f"<td>{code}</td>\n<td><code>{error}</code></td>" in codes
    assert "<code>shard_record.schema.json</code>" in page(site, "reference/files")


def test_pictures_and_jobs_that_pages_name_are_on_it(site):
    assert (site / "files/jobs/blood_cells.png").read_bytes() == (
        ROOT / "jobs/blood_cells.png"
    ).read_bytes()
    assert 'src="files/jobs/blood_cells.png"' in (site / "index.html").read_text("utf-8")
    assert 'href="../files/jobs/blood_cells_painted.yaml"' in page(site, "painting")


def test_nothing_is_fetched_from_elsewhere(site):
    html = (site / "index.html").read_text("utf-8")
    assert 'src="http' not in html
    assert "fonts.g" not in html
