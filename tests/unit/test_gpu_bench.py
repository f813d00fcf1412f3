"""The bench of a GPU runs on a CPU with tiny sizes, so that nobody's 15 minutes of a GPU are lost."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "gpu.py"


def printed(*options):
    ran = subprocess.run(
        [sys.executable, str(BENCH), *options], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-1000:]
    return ran.stdout


@pytest.mark.slow
def test_every_table_but_the_compiled_ones_is_printed():
    found = printed("--tiny", "--only", "floats,runs,training")
    assert "two calls equal" in found
    assert found.count("pairs/s over 4 shards") == 2
    assert "batch    8" in found
    assert "failed" not in found


@pytest.mark.slow
def test_every_contender_passes():
    found = printed("--tiny", "--only", "passes")
    for name in ("textbook fp32", "depthwise fp16", "dense fp16", "dense, compiled fp16"):
        assert name in found
    assert "failed" not in found


def test_without_a_gpu_it_says_what_it_can_do():
    ran = subprocess.run(
        [sys.executable, str(BENCH)], capture_output=True, text=True, check=False,
        env={"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(BENCH.parents[2])},
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.strip() == "no GPU here; --tiny shows on a CPU that the program works"
