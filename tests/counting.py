"""A local store that counts what is asked of it."""

from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path

from factory.store import LocalStore
from factory.store.base import BinaryFile


class CountingStore(LocalStore):
    """Everything works as in a `LocalStore`; reads, fetches and writes are counted by path."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.reads: Counter[str] = Counter()
        self.fetches: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()

    def read(self, path: str) -> bytes | None:
        self.reads[path] += 1
        return super().read(path)

    def fetch(self, path: str) -> AbstractContextManager[Path | None]:
        self.fetches[path] += 1
        return super().fetch(path)

    def create(self, path: str, data: bytes) -> bool:
        is_new = super().create(path, data)
        self.writes[path] += is_new
        return is_new

    def publish(self, path: str, file: Path) -> bool:
        is_new = super().publish(path, file)
        self.writes[path] += is_new
        return is_new

    def replace(self, path: str, data: bytes | BinaryFile) -> None:
        self.writes[path] += 1
        super().replace(path, data)

    def times_read(self, folder: str) -> dict[str, int]:
        """How often each file below `folder` was read."""
        return {path: n for path, n in self.reads.items() if path.startswith(f"{folder}/")}
