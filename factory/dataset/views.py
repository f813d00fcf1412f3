"""The files of a dataset that can be rebuilt from its receipts: manifest and wids index."""

import json
from typing import Any

from factory.dataset.holdings import find_holdings, find_labels
from factory.manifest.paths import (
    INDEX_PATH,
    LEASE_PATH,
    MANIFEST_PATH,
)
from factory.manifest.records import Manifest
from factory.manifest.table import encode_manifest
from factory.store import Store


def make_manifest(store: Store) -> Manifest:
    """Gather the manifest from the plan and the receipts."""
    holdings = find_holdings(store)
    first = holdings.plan.rounds[0]
    return Manifest(
        name=first.name,
        dataset_id=first.dataset_id,
        identity=first.identity,
        meaning=find_labels(store),
        num_planned=holdings.plan.num_samples,
        single_writer=store.size_of(LEASE_PATH) is not None,
        records=list(holdings.records),
    )


def write_views(store: Store, manifest: Manifest) -> None:
    """Write the files that are derived from receipts: the wids index and the manifest."""
    store.replace(INDEX_PATH, _encode_index(manifest))
    store.replace(MANIFEST_PATH, encode_manifest(manifest))


def _encode_index(manifest: Manifest) -> bytes:
    """The index that `wids` reads; shard paths are relative to the index file."""
    shards: list[dict[str, Any]] = [
        {
            "url": f"../{record.path}",
            "nsamples": record.num_samples,
            "filesize": record.size_bytes,
        }
        for record in manifest.records
    ]
    document = {"wids_version": 1, "name": manifest.name, "shardlist": shards}
    return (json.dumps(document, indent=1) + "\n").encode()
