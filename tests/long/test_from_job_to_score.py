"""The notebook runs from its first cell to its last, in an empty folder, and its network is good: two
minutes of a core."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "jobs" / "from_job_to_score.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_goes_from_job_to_scored_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = io.StringIO()
    cells = code_cells()
    assert len(cells) == 3
    with contextlib.redirect_stdout(printed):
        for number, cell in enumerate(cells, start=1):
            exec(compile(cell, f"cell {number}", "exec"), names)
    assert "trained 40 steps, mIoU 0." in printed.getvalue()
    found = re.search(r"mIoU (0\.\d{3}) over \d+ pictures", printed.getvalue())
    assert found is not None
    assert float(found[1]) > 0.6, "a network that says one class everywhere has less than 0.25"
    classes = re.findall(r"^cluster_0\d: IoU (0\.\d{3})", printed.getvalue(), re.MULTILINE)
    assert len(classes) == 4
    assert min(map(float, classes)) > 0.3, "each class is found"
