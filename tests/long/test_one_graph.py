"""Every family's synthesis is one graph for the compiler, which a GPU needs: `python -m pytest
tests/long/test_one_graph.py`, a minute. `tests/gpu` compiles them for a GPU, where there is one.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.families import NETWORKS

PROGRAM = Path(__file__).parents[1] / "fused_families.py"


def test_every_family_is_one_graph():
    """A graph that breaks would not be compiled: one that computes something else would be far off."""
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), "aot_eager"], capture_output=True, text=True, check=True
    )
    found = json.loads(ran.stdout)
    assert len(found) == 1 + len(NETWORKS)
    for name, one in found.items():
        assert one["is_compiled"], name
        assert one["furthest"] <= 1e-4, name
