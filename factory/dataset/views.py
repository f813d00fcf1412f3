"""Write the views of a dataset, which are derived from its receipts: manifest, index, preview, card."""

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir

from factory.dataset.card import encode_card
from factory.dataset.near_train import encode_near_train, find_near_train
from factory.dataset.preview import make_preview
from factory.dataset.quarantine import quarantined_indices
from factory.dataset.state import DatasetState, find_labels, find_state
from factory.dataset.stored_records import find_stored_state, tables_of
from factory.dataset.wids_index import IndexWriter
from factory.manifest.paths import (
    CARD_PICTURE,
    LEASE_PATH,
    MANIFEST_PATH,
    NEAR_TRAIN_PATH,
    README_PATH,
    SPLITS,
    TRAIN,
    index_path,
    split_of,
)
from factory.manifest.records import Manifest
from factory.manifest.table import writing_manifest
from factory.store import Store
from factory.store.base import BinaryFile
from factory.store.failures import explained

_SPOOLED_IN_MEMORY = 2**25
"""Bytes of a view that is being written; more are on disk, in a file without a name."""
_PART_BYTES = 2**24


def make_manifest(store: Store, state: DatasetState | None = None) -> Manifest:
    """Build the manifest from `state`, or from the plan and the receipts in `store`.

    Raises:
        StoreError: If there is no dataset, or one of its files is damaged.
    """
    state = state or find_state(store)
    first = state.plan.rounds[0]
    return Manifest(
        name=first.name,
        dataset_id=first.dataset_id,
        identity=first.identity,
        meaning=find_labels(store),
        num_planned=state.plan.num_samples,
        single_writer=store.size_of(LEASE_PATH) is not None,
        records=state.records,
    )


def write_views(store: Store, manifest: Manifest) -> None:
    """Write all views; idempotent: nothing is written or drawn if they are current.

    The receipts pass once, block by block; long views are spooled into temporary files meanwhile. The
    manifest states what the others were made from, so that it is written last: a run that was killed in
    between leaves the old one, and the next run writes all views again.

    Raises:
        StoreError: If a tar is missing, or the store cannot be written.
    """
    with explained(Path(gettempdir())), ExitStack() as stack:

        def spool() -> BinaryFile:
            return stack.enter_context(SpooledTemporaryFile(_SPOOLED_IN_MEMORY))

        table, indices = spool(), {split: IndexWriter(manifest.name, spool()) for split in SPLITS}
        with writing_manifest(manifest, table) as rows:
            for part in tables_of(manifest.records):
                rows.add(part)
                columns = (part[name].to_pylist() for name in ("path", "num_samples", "size_bytes"))
                for path, num_samples, size_bytes in zip(*columns, strict=True):
                    indices[split_of(path)].add(path, num_samples, size_bytes)
        near = find_near_train(store, manifest)
        card = encode_card(manifest, near)
        if _are_current(store, manifest, table, card):
            return
        for split in manifest.splits:
            store.replace(index_path(split), indices[split].finish())
        if manifest.splits != (TRAIN,):
            store.replace(NEAR_TRAIN_PATH, encode_near_train(near))
        preview = make_preview(store, manifest)
        if preview is not None:
            store.replace(CARD_PICTURE, preview)
        store.replace(README_PATH, card)
        store.replace(MANIFEST_PATH, table)


def holds_manifest(store: Store, manifest: Manifest) -> bool:
    """Whether the manifest in `store` has the bytes that this one gives.

    Raises:
        StoreError: If the store cannot be read.
    """
    with explained(Path(gettempdir())), SpooledTemporaryFile(_SPOOLED_IN_MEMORY) as table:
        with writing_manifest(manifest, table) as rows:
            for part in tables_of(manifest.records):
                rows.add(part)
        return _holds(store, MANIFEST_PATH, table)


def finish_beside_others(store: Store, state: DatasetState) -> Manifest:
    """Write the views of `state`; once more if other drivers have committed the last shards meanwhile.

    Whoever writes last may have listed first. As each driver lists again after it wrote, and commits
    before it writes, the views that are left name every shard.

    Raises:
        StoreError: If a tar is missing, or the store cannot be written.
    """
    manifest = make_manifest(store, state)
    write_views(store, manifest)
    newer = find_stored_state(store, state)
    if newer.done > state.done and not newer.plan.without(newer.done | quarantined_indices(store)):
        manifest = make_manifest(store, newer)
        write_views(store, manifest)
    return manifest


def _are_current(store: Store, manifest: Manifest, table: BinaryFile, card: bytes) -> bool:
    """Whether all views exist and were made from this manifest.

    The card is compared too, because versions up to 0.1.0 wrote it last, after the manifest.
    """
    there = [index_path(split) for split in manifest.splits]
    there += [NEAR_TRAIN_PATH] if manifest.splits != (TRAIN,) else []
    there += [CARD_PICTURE] if manifest.records else []
    return (
        store.read(README_PATH) == card
        and _holds(store, MANIFEST_PATH, table)
        and all(store.size_of(path) is not None for path in there)
    )


def _holds(store: Store, path: str, wanted: BinaryFile) -> bool:
    """Whether a file in the store has the content of `wanted`; it is read in parts."""
    if store.size_of(path) != wanted.seek(0, os.SEEK_END):
        return False
    wanted.seek(0)
    while part := wanted.read(_PART_BYTES):
        if store.read_part(path, wanted.tell() - len(part), len(part)) != part:
            return False
    return True
