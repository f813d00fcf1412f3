"""Hold the sizes of all shards against those in their receipts, a million of them in little memory."""

from array import array
from collections.abc import Iterable

from factory.dataset.walk import change_of_size, damage
from factory.manifest.paths import SHARDS
from factory.store import Store

_ENDING, _NUM_DIGITS = ".tar", 6
_EQUAL = -1


def check_sizes(store: Store, sizes: Iterable[tuple[str, int]]) -> None:
    """Hold the sizes of all shards against those in receipts, as each run can afford.

    It costs one listing and opens no file, so that a changed byte is found by `factory verify` only. Of
    a shard just its size is held, at the number in its path.

    Args:
        store: The dataset's store.
        sizes: The path of each shard, and the size that its receipt tells.

    Raises:
        DamageError: If a shard is missing, or is shorter or longer.
    """
    told: dict[str, array[int]] = {}
    for path, size_bytes in sizes:
        start, number = _start_and_number(path)
        if number < 0:
            _check(store, path, size_bytes)
            continue
        of_start = told.setdefault(start, array("q"))
        of_start.extend([_EQUAL] * (number + 1 - len(of_start)))
        of_start[number] = size_bytes
    for file in store.files(SHARDS):
        start, number = _start_and_number(file.path)
        of_start = told.get(start, array("q"))
        if 0 <= number < len(of_start) and of_start[number] == file.size_bytes:
            of_start[number] = _EQUAL
    for start, of_start in told.items():
        for number, size_bytes in enumerate(of_start):
            if size_bytes != _EQUAL:  # listings may lag behind
                _check(store, f"{start}{number:0{_NUM_DIGITS}d}{_ENDING}", size_bytes)


def _check(store: Store, path: str, told: int) -> None:
    problem = change_of_size(path, told, store.size_of(path))
    if problem is not None:
        raise damage(store, problem)


def _start_and_number(path: str) -> tuple[str, int]:
    """A shard's path up to its number, and this; -1 for other files, such as those of other tools."""
    start, digits = path[: -len(_ENDING) - _NUM_DIGITS], path.removesuffix(_ENDING)[-_NUM_DIGITS:]
    is_number = path.endswith(_ENDING) and digits.isascii() and digits.isdigit()
    return start, int(digits) if is_number and len(digits) == _NUM_DIGITS else -1
