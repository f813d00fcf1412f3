"""The index of a split's shards, which `wids` reads, written shard by shard."""

import json
from textwrap import indent

from factory.store.base import BinaryFile


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
        """Add the shard at `path`; the index names it relative to itself."""
        entry = {"url": f"../{path}", "nsamples": num_samples, "filesize": size_bytes}
        text = indent(json.dumps(entry, indent=1), "  ")
        self._sink.write(f"{'' if self._is_empty else ','}\n{text}".encode())
        self._is_empty = False

    def finish(self) -> BinaryFile:
        """Complete the index, and return the file with it."""
        end = "]" if self._is_empty else "\n ]"
        self._sink.write(f"{end}{self._tail}\n".encode())
        return self._sink
