"""The pages of documentation: their Python is run, and what it prints is compared."""

import contextlib
import io
import re
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ON_A_SERVER = "s3.md"
"""Runs in `test_s3_page.py`."""
PAGES = sorted(p for p in (ROOT / "factory" / "docs").glob("*.md") if p.name != ON_A_SERVER)
NUM_BLOCKS = {
    "alpha.md": 2,
    "costs.md": 1,
    "direction.md": 2,
    "klish.md": 0,
    "layouts.md": 5,
    "methods.md": 0,
    "painting.md": 3,
    "questions.md": 0,
    "reading.md": 8,
    "training.md": 0,
    "trust.md": 4,
    "watching.md": 0,
}
"""How many blocks of code a page has at least: a pattern that finds none would test nothing.
Two pages are tables of what benches measured, one is answers to questions, two are about commands: they
have none."""
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def test_there_are_pages_and_they_are_part_of_the_package() -> None:
    assert {page.name for page in PAGES} == set(NUM_BLOCKS)
    assert '"docs/*.md"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_prints_what_stands_below_it(
    page: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    # A plan says more of a job whose fit is cached: other tests fit the same toy.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert len(blocks) >= NUM_BLOCKS[page.name]
    module = types.ModuleType("page")
    for number, (code, expected) in enumerate(blocks, start=1):
        assert expected.strip(), f"block {number} shows no output"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page.name}, block {number}", "exec"), module.__dict__)
        assert printed.getvalue() == expected, f"block {number}"
