"""A batch that does not fit into memory ends a run with one line that names a size that does."""

import functools
import os
import re
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from plugins.hungry import EACH_BYTES
from small_job import EXACT_PARTS, small_job, worker_config

from factory.errors import JobError
from factory.job import run_job
from factory.make.memory import is_out_of_memory, largest_that_fits
from factory.make.warm import warm_up
from factory.run.calibrate import calibrate
from factory.run.worker import load_configured_generator
from factory.segment.base import load_segmenter

ROOT = Path(__file__).parents[3]
_ALONE = "FACTORY_TEST_ALONE"

LINE = re.compile(
    r"dataset\.batch_size: found 64, for which .+ has too little memory; (\d+) fits, as measured just "
    r"now; set it to (\d+), which is another dataset; workers that share a GPU need less each"
)


@contextmanager
def room_for(num_bytes: int):
    """Let this process allocate so much more, and no more; a real limit of the system.

    What earlier tests have freed stays with the process, and comes on top.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def alone(test):
    """Run a test in a pytest process of its own.

    Where an allocation is refused anywhere, locks of the interpreter can stay locked: whatever the
    process does later may wait for ever.
    """

    @functools.wraps(test)
    def run(*args, **kwargs):
        if _ALONE in os.environ:
            test(*args, **kwargs)
            return
        node = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", node]
        done = subprocess.run(
            command, check=False, cwd=ROOT, env=kept | {_ALONE: "1"}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
        assert "1 passed" in done.stdout or done.stdout.startswith("."), done.stdout

    return pytest.mark.slow(run)


def hungry_job(folder, batch_size=64, kind="plugins.hungry:Hungry"):
    return small_job(
        folder,
        {
            "dataset.generator": {"kind": kind},
            "dataset.segmenter": EXACT_PARTS,
            "dataset.batch_size": batch_size,
        },
    )


def check(caught):
    found = LINE.fullmatch(str(caught.value))
    assert found, str(caught.value)
    assert found[1] == found[2]
    assert 1 <= int(found[1]) <= 56


@alone
def test_a_run_stops_at_its_first_batch_and_names_one_that_fits(tmp_path):
    with room_for(6 * EACH_BYTES), pytest.raises(JobError) as caught:
        run_job(hungry_job(tmp_path))
    check(caught)
    fits = int(LINE.fullmatch(str(caught.value))[1])
    (tmp_path / "smaller").mkdir()
    code = (
        "from pathlib import Path; from factory.job import run_job; from test_memory import hungry_job\n"
        f"print(run_job(hungry_job(Path({str(tmp_path / 'smaller')!r}), {fits})).num_samples)"
    )
    paths = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
    done = subprocess.run(  # not here, where an allocation was refused
        [sys.executable, "-c", code],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "13"


@alone
def test_a_plan_measures_it_too(tmp_path):
    with room_for(6 * EACH_BYTES), pytest.raises(JobError) as caught:
        calibrate(hungry_job(tmp_path))
    check(caught)


@alone
def test_a_worker_that_warms_up_finds_it_before_its_first_shard(tmp_path):
    spec = hungry_job(tmp_path)
    cpu = torch.device("cpu")
    generator = load_configured_generator(worker_config(spec), cpu)
    segmenter = load_segmenter(spec.dataset.segmenter, None, generator.facts, cpu)
    with room_for(6 * EACH_BYTES), pytest.raises(JobError) as caught:
        warm_up(spec.dataset, generator, segmenter, cpu)
    check(caught)


def test_where_not_even_one_fits_the_line_says_so(tmp_path):
    with pytest.raises(JobError, match="too little memory, and for 1 as well; use a larger GPU"):
        calibrate(hungry_job(tmp_path, kind="plugins.hungry:Insatiable"))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 13, 31, 63, 100])
@pytest.mark.parametrize("size", [2, 8, 33, 64, 101])
def test_the_size_found_fits_and_is_at_most_an_eighth_below_the_limit(limit, size):
    tried = []

    def attempt(count):
        tried.append(count)
        if count > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    found = largest_that_fits(attempt, size)
    best = min(limit, size - 1)
    assert best - max(1, best // 8) <= found <= best
    assert len(tried) <= 12
    assert size not in tried


def test_nothing_fits_and_other_errors_are_raised():
    def full(count):
        raise torch.OutOfMemoryError("no room")

    def broken(count):
        raise RuntimeError("shapes do not match")

    assert largest_that_fits(full, 16) == 0
    with pytest.raises(RuntimeError, match="shapes"):
        largest_that_fits(broken, 16)


def test_a_real_allocation_that_is_refused_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
