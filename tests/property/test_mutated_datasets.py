"""Whatever happened to a dataset's bytes: one clear line, and nothing outside of it is touched.

`tests/long/mutate.py` does the same many thousand times, with limits on time and memory.
"""

import random
import shutil

import pytest
from mutations import COMMANDS, complaint, mutate, run, tree_of
from small_job import make_small

MUTATIONS = 180


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutated")
    make_small(folder)
    return folder / "out"


@pytest.mark.parametrize("part", range(6))
def test_no_byte_of_a_dataset_gives_a_traceback_or_touches_a_file_outside(source, tmp_path, part):
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("thesis")
    before = tree_of(canary)
    root, out = tmp_path / "ds", tmp_path / "out"
    found = []
    for number in range(part * MUTATIONS // 6, (part + 1) * MUTATIONS // 6):
        rng = random.Random(number)
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(source, root)
        out.mkdir(exist_ok=True)
        what = mutate(root, rng)
        command = COMMANDS[number % len(COMMANDS)]
        bad = complaint(run(command, root, out))
        if bad:
            found.append(f"{number}: {what}; {' '.join(command)}: {bad}")
    assert found == []
    assert tree_of(canary) == before
    assert {path.name for path in tmp_path.iterdir()} == {"canary", "ds", "out"}
