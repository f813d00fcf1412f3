"""The index of a split's shards, which `wids` reads, written shard by shard."""

import json
from textwrap import indent
from typing import Any

from factory.manifest.records import ShardRecord
from factory.store.base import BinaryFile


def entry_of(record: ShardRecord) -> dict[str, Any]:
    """What an index says of a shard."""
    return _entry(record.path, record.num_samples, record.size_bytes)


def url_of(path: str) -> str:
    """How an index names the shard at `path`: relative to itself."""
    return f"../{path}"


def _entry(path: str, num_samples: int, size_bytes: int) -> dict[str, Any]:
    return {"url": url_of(path), "nsamples": num_samples, "filesize": size_bytes}


class IndexWriter:
    """Writes an index: what `json.dumps` would make of all shards at once, without holding them."""

    def __init__(self, name: str, sink: BinaryFile) -> None:
        """Write the index of the dataset `name` to `sink`."""
        document = {"wids_version": 1, "name": name, "shardlist": []}
        head, _, self._tail = json.dumps(document, indent=1).rpartition("]")
        self._sink = sink
        self._is_empty = True
        sink.write(head.encode())

    def add(self, path: str, num_samples: int, size_bytes: int) -> None:
        """Add the shard at `path`."""
        text = indent(json.dumps(_entry(path, num_samples, size_bytes), indent=1), "  ")
        self._sink.write(f"{'' if self._is_empty else ','}\n{text}".encode())
        self._is_empty = False

    def finish(self) -> BinaryFile:
        """Complete the index, and return the file with it."""
        end = "]" if self._is_empty else "\n ]"
        self._sink.write(f"{end}{self._tail}\n".encode())
        return self._sink
