"""Damage that receipts agree with: a shard of the small dataset, written anew from other files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory.pack.tar import ShardWriter, read_members

TAR = "data/train/tiny-000001.tar"
"""The second shard."""

Members = list[tuple[str, bytes]]


def change_receipt(root: Path, **changes: Any) -> None:
    """Change facts in the receipt of the second shard."""
    path = root / "receipts/0000/000001.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(root: Path, change: Callable[[Members], Members]) -> None:
    """Write the second shard anew from `change` of its members, with a receipt that agrees."""
    members = change(list(read_members(root / TAR)))
    (root / TAR).unlink()
    with ShardWriter(root / TAR) as writer:
        writer.add(members)
        packed = writer.finish()
    change_receipt(
        root,
        sha256=packed.sha256,
        size_bytes=packed.size_bytes,
        num_members=packed.num_members,
    )


def replaced(name: str, data: bytes) -> Callable[[Members], Members]:
    """A change for `rewrite`: the file `name` holds `data`."""
    return lambda members: [(n, data if n == name else d) for n, d in members]
