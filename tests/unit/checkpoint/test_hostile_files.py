"""Every hostile file is refused by name and offset, does nothing, and costs little time and memory."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import hostile
import pytest

from factory.checkpoint import read_checkpoint
from factory.errors import WeightsError

ROOT = Path(__file__).parents[3]
MOST_SECONDS = 20
MOST_MEMORY_MIB = 1024

_CASES = {
    **{f"attack: {key}": case for key, case in hostile.attacks(Path("canary")).items()},
    **{f"geometry: {key}": case for key, case in hostile.bad_geometries().items()},
    **{f"storage: {key}": case for key, case in hostile.bad_storages().items()},
    **{f"zip: {key}": case for key, case in hostile.bad_zips().items()},
    **{f"safetensors: {key}": case for key, case in hostile.bad_safetensors().items()},
    **{f"download: {key}": case for key, case in hostile.failed_downloads().items()},
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES)
def test_a_hostile_or_broken_file_is_refused_by_name_and_place(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the canary would appear
    file = tmp_path / "weights.bin"
    file.write_bytes(case.data())
    modules = set(sys.modules)
    with pytest.raises(WeightsError, match=case.words) as caught:
        read_checkpoint(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    assert message.isascii()
    assert message.count("; ") >= 2, "where and what; what is allowed; what to do"
    assert set(sys.modules) == modules
    assert [path.name for path in tmp_path.iterdir()] == ["weights.bin"]


def test_the_canary_would_sing_if_something_were_run(tmp_path):
    pickle.loads(hostile.runs_command(tmp_path / "canary", 4))
    assert (tmp_path / "canary").exists()


_CHILD = """
import json, resource, sys, time
from pathlib import Path
from factory.checkpoint import read_checkpoint
from factory.errors import WeightsError

megabyte = 1 << 20
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[1]) * megabyte
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CPU, (180, 180))

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

for name in sys.argv[2:]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    start = time.process_time()
    try:
        read_checkpoint(Path(name))
        said = "it was read"
    except WeightsError as error:
        said = str(error)
    seconds = time.process_time() - start
    print(json.dumps([said, seconds, status("VmHWM") - before]), flush=True)
"""


@pytest.fixture(scope="module")
def bomb_reports(tmp_path_factory) -> dict[str, tuple[str, float, float]]:
    """What a child with limited memory said of each bomb, in how many seconds and MiB."""
    folder = tmp_path_factory.mktemp("bombs")
    files = []
    for number, case in enumerate(hostile.bombs().values()):
        files.append(folder / f"{number}.bin")
        files[-1].write_bytes(case.data())
    result = subprocess.run(
        [sys.executable, "-c", _CHILD, str(MOST_MEMORY_MIB), *files],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    return dict(zip(hostile.bombs(), reports, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile.bombs())
def test_a_bomb_is_refused_within_bounds(name, bomb_reports):
    said, seconds, growth_mib = bomb_reports[name]
    print(f"{name}: {seconds:.2f} s, {growth_mib:.0f} MiB")
    assert ".bin: " in said
    assert re.search(hostile.bombs()[name].words, said), said
    assert seconds < MOST_SECONDS
    assert growth_mib < MOST_MEMORY_MIB


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot be read .*check the path"):
        read_checkpoint(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="a folder without weights"):
        read_checkpoint(tmp_path)
    with pytest.raises(WeightsError, match="not an ordinary file"):
        read_checkpoint(Path("/dev/null"))
    (tmp_path / "config.json").write_text("[1]")
    (tmp_path / "x").write_bytes(b"\x80\x04}.")
    with pytest.raises(WeightsError, match="settings are a JSON object"):
        read_checkpoint(tmp_path / "x", config=tmp_path / "config.json")
