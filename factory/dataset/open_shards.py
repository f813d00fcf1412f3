"""Random access to the samples of shards: headers are read once, then the bytes that are asked for."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from factory.dataset.walk import explain_damage, fetch_shard, list_samples
from factory.manifest.records import ShardRecord
from factory.pack.tar import Member, read_member
from factory.store import Store

_MOST_OPEN = 4


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A shard whose headers were read."""

    file: BinaryIO
    """Its tar."""
    members: dict[str, dict[str, Member]]
    """Where its samples' files lie, by key and ending."""
    keys: list[str]
    """Its samples in order."""
    closing: ExitStack
    """Closes it."""
    lock: threading.Lock
    """Held by whoever reads it."""

    def files(self, key: str) -> dict[str, bytes]:
        """The files of a sample, by ending.

        Raises:
            ValueError: If the tar was cut since its headers were read.
        """
        return {e: read_member(self.file, where) for e, where in self.members[key].items()}


class OpenShards:
    """The shards read last, kept open; those of a bucket as local copies. Thread-safe."""

    def __init__(self, store: Store) -> None:
        """None is open yet."""
        self._store = store
        self._lock = threading.Lock()
        self._open: OrderedDict[str, OpenShard] = OrderedDict()

    @contextmanager
    def reading(self, record: ShardRecord) -> Iterator[OpenShard]:
        """A shard for one reader at a time, because its file has one position.

        Raises:
            DamageError: If the shard is missing or not what its receipt says.
        """
        with self._lock:
            shard = self._open.pop(record.path, None) or self._fetch(record)
            self._open[record.path] = shard
            while len(self._open) > _MOST_OPEN:
                _, oldest = self._open.popitem(last=False)
                with oldest.lock:  # whoever still reads it ends first
                    oldest.closing.close()
            shard.lock.acquire()
        try:
            yield shard
        finally:
            shard.lock.release()

    def _fetch(self, record: ShardRecord) -> OpenShard:
        with ExitStack() as stack:
            path = stack.enter_context(fetch_shard(self._store, record))
            file = stack.enter_context(path.open("rb"))
            with explain_damage(self._store, record):
                members = list_samples(file, record)
            return OpenShard(file, members, list(members), stack.pop_all(), threading.Lock())
