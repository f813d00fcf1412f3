"""The bench of deflate runs with tiny inputs, and says what of them has the bytes that zlib writes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_job import make_small

BENCH = Path(__file__).parents[1] / "bench" / "deflate.py"


@pytest.mark.slow
def test_codecs_are_measured_side_by_side_and_zlib_ng_equals_zlib(tmp_path):
    make_small(tmp_path)
    ran = subprocess.run(
        [sys.executable, str(BENCH), "--tiny", "--dataset", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-1000:]
    row = r"  %s +[0-9.]+ ms +[0-9.]+ x +[0-9,]+ bytes +([0-9.]+) of ours  (\d+) of (\d+) equal"
    for codec in ("zlib 1, runs \\(ours\\)", "zlib-ng 1, runs"):
        rows = re.findall(row % codec, ran.stdout)
        assert len(rows) == 4
        assert all(size == "1.00" and equal == count for size, equal, count in rows)
    assert re.findall(row % "zlib-ng 1", ran.stdout)
