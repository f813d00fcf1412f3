"""The notebook as it is stored; `tests/long/test_from_job_to_score.py` runs it."""

import json
from pathlib import Path

NOTEBOOK = Path(__file__).parents[2] / "jobs" / "from_job_to_score.ipynb"


def test_the_notebook_is_kept_without_answers_and_its_cells_compile() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) == 3
    for number, cell in enumerate(code, start=1):
        compile(cell, f"cell {number}", "exec")
