"""Datasets changed at random, as bit rot, bugs and attackers would, and the commands that read them."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from factory.cli.app import app

ALLOWED_EXITS = {0, 1, 2, 3, 4, 5, 6, 7}
"""Exit code 1 is that of deliberate errors without a class of their own; tracebacks are looked for."""

ODD_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1,
        2**31,
        2**63,
        10**30,
        1e308,
        -0.5,
        "",
        "x",
        "../../canary/file",
        "/etc/passwd",
    ),
    *("a\0b", "\x1b[31m", "9" * 5000, "yesterday", [], [[]], {}, {"": {}}, [None], "e" * 100_000),
)

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status", "{ds}"),
    ("status", "{ds}", "--json"),
    ("verify", "{ds}"),
    ("verify", "{ds}", "--deep"),
    ("verify", "{ds}", "--regenerate", "2"),
    ("repair", "{ds}"),
    ("repair", "{ds}", "--yes"),
    ("gc", "{ds}", "--older-than-h", "0", "--yes"),
    ("quarantine", "list", "{ds}"),
    ("preview", "{ds}", "-o", "{out}/sheet.png"),
    ("export", "coco", "{ds}", "-o", "{out}/coco"),
    ("eval", "masks", "{ds}", "--reference", "generator"),
    ("replay", "{ds}", "000000003"),
    ("plan", "{ds}/job.yaml"),
)


def mutate(root: Path, rng: random.Random) -> str:
    """Change one file below `root`; what was done, for messages."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = rng.choice(files)
    ways: list[Callable[[Path, random.Random], str]] = [_flip, _flip, _cut, _empty, _remove, _swap]
    ways += [_odd_json] * 6 if path.suffix == ".json" else [_splice, _link, _fifo]
    name = path.relative_to(root).as_posix()
    return f"{name}: {rng.choice(ways)(path, rng)}"


def run(command: tuple[str, ...], root: Path, out: Path) -> Result:
    """One command on the dataset at `root`, in this process."""
    words = [word.format(ds=root, out=out) for word in command]
    return CliRunner().invoke(app, words)


def complaint(result: Result) -> str:
    """What a user must not see; empty if there is nothing."""
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return f"{type(error).__name__}: {error}"
    if result.exit_code not in ALLOWED_EXITS:
        return f"exit code {result.exit_code}"
    return "a traceback" if "Traceback (most recent call last)" in result.output else ""


def tree_of(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, to see later whether one was touched."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def copies(source: Path, folder: Path) -> Iterator[Path]:
    """Fresh copies of a dataset, each in the same place, without end."""
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        yield folder


def _flip(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes() or b"\0")
    place = rng.randrange(len(data))
    data[place] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"a bit of byte {place} flipped"


def _cut(path: Path, rng: random.Random) -> str:
    data = path.read_bytes()
    size = rng.randrange(len(data) + 1)
    path.write_bytes(data[:size])
    return f"cut after {size} of {len(data)} bytes"


def _empty(path: Path, rng: random.Random) -> str:
    path.write_bytes(b"")
    return "emptied"


def _remove(path: Path, rng: random.Random) -> str:
    path.unlink()
    return "removed"


def _swap(path: Path, rng: random.Random) -> str:
    other = rng.choice(sorted(p for p in path.parent.rglob("*") if p.is_file()))
    path.write_bytes(other.read_bytes())
    return f"replaced by {other.name}"


def _splice(path: Path, rng: random.Random) -> str:
    data = path.read_bytes()
    place = rng.randrange(len(data) + 1)
    path.write_bytes(data[:place] + rng.randbytes(rng.randrange(1, 600)) + data[place:])
    return f"bytes put in at {place}"


def _link(path: Path, rng: random.Random) -> str:
    path.unlink()
    path.symlink_to("/dev/zero")
    return "a link to /dev/zero"


def _fifo(path: Path, rng: random.Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return "a named pipe"


def _odd_json(path: Path, rng: random.Random) -> str:
    document = json.loads(path.read_text())
    holders = [holder for holder in _holders(document) if holder]
    holder = rng.choice(holders)
    key = rng.choice(sorted(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    value = rng.choice(ODD_VALUES)
    holder[key] = value
    path.write_text(json.dumps(document))
    return f"{key!r} = {str(value)[:40]!r}"


def _holders(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)
