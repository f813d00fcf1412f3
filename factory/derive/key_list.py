"""Read a file of keys: samples that a person marked, one key per line."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import JobError
from factory.identity import is_key
from factory.redact import shown

OPTION = "--without-keys"
"""The option that takes such a file, for errors."""

_DATASET = re.compile(r"# dataset ([0-9a-f]{16})")
_MOST_BYTES = 2**25
_MOST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class KeyList:
    """Samples of one dataset, by index."""

    indices: frozenset[int]
    """Their sample indices; at least one."""
    dataset_id: str = ""
    """The dataset that they are samples of, as the file states; empty if it states none."""

    def plain(self) -> dict[str, Any]:
        """As JSON, for an identity: their number and a digest, since they may be many."""
        text = ",".join(map(str, sorted(self.indices)))
        return {"count": len(self.indices), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def read_key_list(path: Path) -> KeyList:
    """Read a file with one key per line, such as the page of `factory serve` downloads.

    Empty lines and those that begin with `#` are skipped; `# dataset ID` states whose keys they are.

    Raises:
        JobError: If it cannot be read, has a line that is no key, or no key at all.
    """
    indices = set()
    dataset_id = ""
    for number, raw in enumerate(_text_of(path).splitlines(), 1):
        line = raw.strip()
        if stated := _DATASET.fullmatch(line):
            dataset_id = stated[1]
        if not line or line.startswith("#"):
            continue
        if not is_key(line):
            raise JobError(
                where=f"{OPTION}: {path}, line {number}",
                found=f"found {shown(line[:_MOST_SHOWN])!r}",
                allowed="a key of nine digits on each line, such as 000000042",
            )
        indices.add(int(line))
    if not indices:
        raise JobError(
            where=f"{OPTION}: {path}",
            found="found no key",
            allowed="a key of nine digits on each line, such as 000000042",
            remedy=f"leave {OPTION} out to drop no sample",
        )
    return KeyList(frozenset(indices), dataset_id)


def _text_of(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise JobError(
                where=f"{OPTION}: {path}",
                found=f"found {path.stat().st_size:,} bytes",
                allowed=f"a list of keys has at most {_MOST_BYTES:,}",
            )
        if not path.is_file():  # opening a pipe would block
            found = (
                "a folder"
                if path.is_dir()
                else "no plain file"
                if path.exists()
                else "no such file"
            )
            allowed = "a file with one key per line" if path.exists() else ""
            raise JobError(where=f"{OPTION}: {path}", found=found, allowed=allowed)
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise JobError(where=f"{OPTION}: {path}", found=f"cannot read it ({problem})") from error


def check_known(keys: KeyList, dataset_id: str, missing: set[int], *, uri: str) -> None:
    """Require that `keys` are samples of the dataset at `uri`; `missing` are those it has not.

    Raises:
        JobError: If they are another dataset's, or some are not there.
    """
    if keys.dataset_id and keys.dataset_id != dataset_id:
        raise JobError(
            where=OPTION,
            found=f"found keys of dataset {keys.dataset_id}; {uri} is {dataset_id}",
            remedy="give the dataset in which they were marked: keys are positions in it",
        )
    if missing:
        raise JobError(
            where=OPTION,
            found=f"{len(missing):,} of {len(keys.indices):,} keys are no samples of {uri}, the first "
            f"is {min(missing):09d}",
            remedy="give the dataset in which they were marked, or remove these lines",
        )
