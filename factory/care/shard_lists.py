"""Hold the lists of shards that `wids` reads against the receipts; `verify` and `repair` ask for it."""

import json
from typing import Any

from factory.data import ShardTask
from factory.dataset.receipts import find_record
from factory.dataset.state import DatasetState, find_plan
from factory.dataset.views import holds_manifest
from factory.dataset.wids_index import entry_of, url_of
from factory.errors import Problem
from factory.manifest.paths import index_path, tar_path
from factory.manifest.records import Manifest
from factory.store import Store

WRITTEN_ANEW = "`factory repair` removes it; the next `run`, `merge` or `subset` writes it anew"
"""The remedy for what is derived from shards and wrong."""

_ENTRY_BYTES = 1024
"""More than an entry takes. A list of more bytes is not read."""


def find_list_problem(store: Store, state: DatasetState, manifest: Manifest) -> Problem | None:
    """Hold each split's list of shards against the receipts of `state`; None if all may stay.

    One that is not there may stay so. One may lack shards if the manifest, too, is of before a run: the
    end of each run writes both again.
    """
    for split in manifest.splits:
        found = _find_wrong(store, state, manifest, split)
        if found:
            return Problem(index_path(split), "outdated", found, WRITTEN_ANEW)
    return None


def _find_wrong(store: Store, state: DatasetState, manifest: Manifest, split: str) -> str:
    """What is wrong with the list of a split; empty if nothing is, or there is none."""
    size_bytes = store.size_of(index_path(split))
    if size_bytes is None:
        return ""
    held = (
        _read_list(store, split)
        if size_bytes < _ENTRY_BYTES * (state.plan.num_shards + 9)
        else None
    )
    if held is None:
        return "not a list of shards"
    receipts = {entry_of(r)["url"]: r for r in manifest.records_of(split)}
    has_others = any(entry["url"] not in receipts for entry in held)
    tasks = _find_newer(store, state, split) if has_others else {}
    for entry in held:
        record, task = receipts.pop(entry["url"], None), tasks.get(entry["url"])
        if task is not None:
            record = find_record(store, task)
        if record is None:
            return f"lists {entry['url']}, which has no receipt"
        if entry != entry_of(record):
            return f"says of {record.path} what its receipt does not"
    if receipts and holds_manifest(store, manifest):
        return f"lacks {len(receipts)} of {len(manifest.records_of(split))} shards"
    return ""


def _read_list(store: Store, split: str) -> list[dict[str, Any]] | None:
    """The entries of a list, of different shards; None if it is not one."""
    try:
        held = json.loads(store.read(index_path(split)) or b"")["shardlist"]
        urls = {entry["url"] for entry in held}
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return held if isinstance(held, list) and len(urls) == len(held) else None


def _find_newer(store: Store, state: DatasetState, split: str) -> dict[str, ShardTask]:
    """The shards that may have been committed after `state`, as a list names them."""
    tasks = find_plan(store, state.plan.rounds).without(state.done)
    return {url_of(tar_path(task.name, split)): task for task in tasks if task.split == split}
