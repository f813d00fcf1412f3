"""Commit a finished tar: first the tar, then its sidecar table, then the receipt.

The receipt comes last because it is the commit point: readers that see it find everything else. A tar
without a receipt is an orphan, left by a writer that died in between. It is never replaced: a complete
one is adopted, which takes seconds instead of the time to make it again; a damaged one is only removed
by `factory repair`.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from factory.data import LatentBatch, ShardTask
from factory.dataset.receipts import find_record
from factory.errors import Problem, RetryableError, ShardError
from factory.identity import digest_of_file
from factory.log import log_event
from factory.make.produced import ProducedSamples
from factory.manifest.coverage import Coverage
from factory.manifest.makers import UNKNOWN
from factory.manifest.measure import Measures, latent_cells
from factory.manifest.paths import receipt_path, sidecar_path, tar_path
from factory.manifest.records import ShardRecord, encode_record
from factory.pack.contents import Contents, Expected, read_contents
from factory.pack.facts import LayoutFacts, SampleFacts, encode_sidecar
from factory.pack.packing import PackedRows
from factory.pack.tar import PackedShard
from factory.provenance import worker_name
from factory.store import Store


@dataclass(frozen=True, slots=True)
class Origin:
    """Provenance of a shard."""

    run_id: str
    """The run that made it, or adopted it."""
    wall_s: float
    """Seconds since the start of the task."""
    generate_s: float
    """Seconds of these spent in the generator and the segmenter."""
    device: str
    """The GPU or CPU that computed it."""
    num_rejected: dict[str, int]
    """Rejected samples by reason."""
    versions: dict[str, str]
    """Versions of the libraries that determine bytes."""
    coverage: Coverage | None = None
    """Coverage statistics of its samples; None if unknown."""


def make_record(
    task: ShardTask, rows: Sequence[SampleFacts], packed: PackedShard, origin: Origin
) -> ShardRecord:
    """Build the receipt of a shard with the samples `rows`.

    Facts that the task, the tar and the origin state are taken over by name; the rest is counted.
    """
    stated = {
        field.name: getattr(source, field.name)
        for source in (task, packed, origin)
        for field in fields(source)
        if field.name in ShardRecord.model_fields
    }
    quantiles = np.quantile([row.confidence for row in rows], [0, 0.05, 0.5, 0.95, 1])
    counted = count_classes(rows) | {
        "path": tar_path(task.name, task.split),
        "num_samples": len(rows),  # the task's number is what was asked for
        "confidence": [round(float(quantile), 6) for quantile in quantiles],
        "wall_s": round(origin.wall_s, 3),
        "generate_s": round(origin.generate_s, 3),
        "worker": worker_name(),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return ShardRecord(**stated | counted)


def count_classes(rows: Sequence[SampleFacts]) -> dict[str, Any]:
    """What a receipt states of the classes in its samples, at least one: images and pixels of each."""
    px = np.array([row.class_px for row in rows], dtype=np.int64)
    return {
        "class_images": (px > 0).sum(axis=0).tolist(),
        "class_px": px.sum(axis=0).tolist(),
        "ignore_px": sum(row.ignore_px for row in rows),
    }


def commit_shard(
    store: Store,
    task: ShardTask,
    file: Path,
    record: ShardRecord,
    rows: list[SampleFacts],
    measures: Sequence[Measures] = (),
) -> ShardRecord | None:
    """Commit the tar `file`; None if there is another tar in its place, which is then to be adopted.

    Returns:
        The receipt: `record`, or that of another writer that committed the shard first.
    """
    if not store.publish(record.path, file):
        with store.fetch(record.path) as existing:
            if existing is None or digest_of_file(existing) != record.sha256:
                return None
    return _finish(store, task, record, rows, measures)


def adopt_shard(
    store: Store,
    task: ShardTask,
    expected: Expected,
    run_id: str,
    draw: Callable[[Sequence[int]], LatentBatch] | None = None,
) -> ShardRecord | None:
    """Adopt an orphaned tar: validate it and write its receipt; None if there is no tar.

    The receipt is rebuilt from the content. Reasons for rejections and the machine cannot be recovered
    and are given as unknown.

    Args:
        store: The dataset's store.
        task: The task of the shard.
        expected: The expected contents of every sample.
        run_id: The run that adopts.
        draw: Draws the latents of samples by index; without it latent cells and the classes of rejected
            samples are unknown.

    Raises:
        ShardError: If it is damaged.
    """
    path = tar_path(task.name, task.split)
    if store.size_of(path) is None:
        return None
    started = time.monotonic()
    with store.fetch(path) as tar:
        if tar is None:
            return None
        packed, contents = read_orphan(tar, task, expected)
    if contents.problems:
        raise ShardError(
            where=f"{store.uri}/{path}",
            found=f"there without a receipt, and damaged ({contents.problems[0].finding})",
            remedy="`factory repair` removes it, then run the job again",
            problems=tuple(contents.problems),
        )
    produced = _reconstruct(task, contents, draw)
    origin = Origin(
        run_id=run_id,
        wall_s=time.monotonic() - started,
        generate_s=produced.generate_s,
        device=UNKNOWN,
        num_rejected=produced.num_rejected,
        versions={},
        coverage=produced.cover(),
    )
    record = make_record(task, contents.rows, packed, origin)
    log_event("shard_adopted", shard=task.name, seconds=origin.wall_s)
    return _finish(store, task, record, contents.rows, produced.rows.measures)


def read_orphan(tar: Path, task: ShardTask, expected: Expected) -> tuple[PackedShard, Contents]:
    """Read an orphaned tar, and list its problems.

    It must be equal, byte by byte, to the tar that our writer makes of the files in it: no receipt
    has a digest to compare with, and damage between the files shows nowhere else.
    """
    contents = read_contents(tar, task, expected)
    packed = PackedShard(tar.stat().st_size, digest_of_file(tar), contents.num_members)
    if not contents.problems:
        if packed.sha256 != contents.repacked_sha256:
            found = "bytes between its files differ from those we write"
            contents.problems.append(Problem(tar_path(task.name, task.split), "contents", found))
        elif contents.repeated:
            found = f"a file of sample {contents.repeated[0]} is there twice"
            contents.problems.append(Problem(tar_path(task.name, task.split), "contents", found))
        elif not contents.rows:
            contents.problems.append(
                Problem(tar_path(task.name, task.split), "contents", "no sample inside")
            )
    return packed, contents


def _finish(
    store: Store,
    task: ShardTask,
    record: ShardRecord,
    rows: list[SampleFacts],
    measures: Sequence[Measures] = (),
) -> ShardRecord:
    # The table may be overwritten by a concurrent writer of the same shard: both write equal rows.
    store.replace(sidecar_path(task.name, task.split), encode_sidecar(rows, measures))
    name = receipt_path(task.round_index, task.shard_index)
    if store.create(name, encode_record(record)):
        return record
    found = find_record(store, task)
    if found is None:
        raise RetryableError(f"{store.uri}/{name}: the store says it is there, and has none")
    return found


def _reconstruct(
    task: ShardTask, contents: Contents, draw: Callable[[Sequence[int]], LatentBatch] | None
) -> ProducedSamples:
    """Rebuild coverage and rejection counts of an adopted shard."""
    gaps = _gaps(task, contents.rows)
    labels, measures = [-1] * len(gaps), contents.measures
    if draw is not None:
        cells = latent_cells(draw([row.index for row in contents.rows]).z)
        measures = [
            # Not of a latent that was searched: the cell of the one that was drawn says nothing of it.
            measured.model_copy(
                update={} if isinstance(row, LayoutFacts) else {"latent_cell": int(cell)}
            )
            for row, measured, cell in zip(contents.rows, measures, cells, strict=True)
        ]
        labels = draw(gaps).class_labels.tolist() if gaps else []
    return ProducedSamples(
        rows=PackedRows(contents.rows, measures),
        rejected=Counter((UNKNOWN, label) for label in labels),
        num_generator_classes=1 + max(row.class_label for row in contents.rows),
        generate_s=0.0,
    )


def _gaps(task: ShardTask, rows: Sequence[SampleFacts]) -> list[int]:
    """Indices of the range whose samples were made and rejected."""
    is_ranked = task.steering is not None and task.steering.best_by is not None
    # A shard that is full stops computing, so that indices after its last sample were never made; a
    # ranked one, or one that came out short, went through its whole range.
    is_cut_short = len(rows) == task.num_samples and not is_ranked
    end = rows[-1].index + 1 if is_cut_short else task.first_index + task.num_indices
    kept = {row.index for row in rows}
    return [index for index in range(task.first_index, end) if index not in kept]
