"""A finished tar becomes a committed shard: first the tar, then its table, then the receipt.

A tar without a receipt was left by a writer that died in between. It is never replaced: if it is
whole it is adopted, which takes seconds instead of the time to make it; if it is not, only
`factory repair` removes it.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from factory.data import LatentBatch, ShardTask
from factory.dataset.receipts import find_record
from factory.errors import Problem, RetryableError, ShardError
from factory.identity import digest_of_file
from factory.log import log_event
from factory.make.produced import Produced
from factory.manifest.coverage import Coverage
from factory.manifest.measure import Measures, latent_cells
from factory.manifest.paths import receipt_path, sidecar_path, tar_path
from factory.manifest.records import ShardRecord, encode_record
from factory.pack.contents import Contents, Expected, read_contents
from factory.pack.facts import SampleFacts, encode_sidecar
from factory.pack.packing import PackedRows
from factory.pack.tar import PackedShard
from factory.provenance import worker_name
from factory.store import Store

UNKNOWN = "unknown"
"""What is written of a shard that was adopted where only its maker knew."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How a shard came about."""

    run_id: str
    """The run that made it, or adopted it."""
    wall_s: float
    """Seconds from the task's start until now."""
    generate_s: float
    """Seconds of that spent in the generator and the segmenter."""
    device: str
    """What computed it."""
    num_rejected: dict[str, int]
    """Samples that were made and not kept, by reason."""
    versions: dict[str, str]
    """Versions of the libraries that decide bytes."""
    coverage: Coverage | None = None
    """What its samples cover, as far as that was counted."""


def make_record(
    task: ShardTask, rows: Sequence[SampleFacts], packed: PackedShard, making: Origin
) -> ShardRecord:
    """The receipt of a shard whose samples are `rows`."""
    px = np.array([row.class_px for row in rows], dtype=np.int64)
    quantiles = np.quantile([row.confidence for row in rows], [0, 0.05, 0.5, 0.95, 1])
    return ShardRecord(
        dataset_id=task.dataset_id,
        round_index=task.round_index,
        shard_index=task.shard_index,
        path=tar_path(task.name),
        first_index=task.first_index,
        num_indices=task.num_indices,
        num_samples=len(rows),
        num_rejected=making.num_rejected,
        num_members=packed.num_members,
        size_bytes=packed.size_bytes,
        sha256=packed.sha256,
        class_images=(px > 0).sum(axis=0).tolist(),
        class_px=px.sum(axis=0).tolist(),
        ignore_px=sum(row.ignore_px for row in rows),
        confidence=[round(float(quantile), 6) for quantile in quantiles],
        wall_s=round(making.wall_s, 3),
        generate_s=round(making.generate_s, 3),
        device=making.device,
        worker=worker_name(),
        run_id=making.run_id,
        versions=making.versions,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        coverage=making.coverage,
    )


def commit_shard(
    store: Store,
    task: ShardTask,
    file: Path,
    record: ShardRecord,
    rows: list[SampleFacts],
    measures: Sequence[Measures] = (),
) -> ShardRecord | None:
    """Commit the tar `file`; None if another tar has its place: adopt that one.

    Returns:
        The receipt: `record`, or that of whoever committed the shard first.
    """
    if not store.publish(record.path, file):
        with store.fetch(record.path) as twin:
            if twin is None or digest_of_file(twin) != record.sha256:
                return None
    return _finish(store, task, record, rows, measures)


def adopt_shard(
    store: Store,
    task: ShardTask,
    expected: Expected,
    run_id: str,
    draw: Callable[[Sequence[int]], LatentBatch] | None = None,
) -> ShardRecord | None:
    """Commit the tar that lies in the shard's place without a receipt; None if there is none.

    Its receipt is made from what is inside. The reasons for which samples were rejected and the
    machine that made it are not, and are given as unknown.

    Args:
        store: Where the tar lies.
        task: What was asked for.
        expected: What holds for every sample of the dataset.
        run_id: The run that adopts.
        draw: Draws the latents of samples again, by index; None leaves the cells of their space and
            the classes of the rejected ones unknown.

    Raises:
        ShardError: If it is not whole.
    """
    path = tar_path(task.name)
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
    produced = _recall(task, contents, draw)
    making = Origin(
        run_id=run_id,
        wall_s=time.monotonic() - started,
        generate_s=produced.generate_s,
        device=UNKNOWN,
        num_rejected=produced.num_rejected,
        versions={},
        coverage=produced.cover(),
    )
    record = make_record(task, contents.rows, packed, making)
    log_event("shard_adopted", shard=task.name, seconds=making.wall_s)
    return _finish(store, task, record, contents.rows, produced.rows.measures)


def read_orphan(tar: Path, task: ShardTask, expected: Expected) -> tuple[PackedShard, Contents]:
    """A tar that no receipt vouches for: its facts, and what is wrong with it.

    It must be, byte for byte, what our writer makes of the files inside.
    """
    contents = read_contents(tar, task, expected)
    packed = PackedShard(tar.stat().st_size, digest_of_file(tar), contents.num_members)
    if not contents.problems:
        if packed.sha256 != contents.repacked_sha256:
            found = "bytes between its files differ from those we write"
            contents.problems.append(Problem(tar_path(task.name), "contents", found))
        elif not contents.rows:
            contents.problems.append(Problem(tar_path(task.name), "contents", "no sample inside"))
    return packed, contents


def _finish(
    store: Store,
    task: ShardTask,
    record: ShardRecord,
    rows: list[SampleFacts],
    measures: Sequence[Measures] = (),
) -> ShardRecord:
    store.replace(sidecar_path(task.name), encode_sidecar(rows, measures))
    name = receipt_path(task.round_index, task.shard_index)
    if store.create(name, encode_record(record)):
        return record
    found = find_record(store, task)
    if found is None:
        raise RetryableError(f"{store.uri}/{name}: the store says it is there, and has none")
    return found


def _recall(
    task: ShardTask, contents: Contents, draw: Callable[[Sequence[int]], LatentBatch] | None
) -> Produced:
    """What the maker of a tar knew, as far as it can be told again."""
    gaps = _gaps(task, contents.rows)
    labels, measures = [-1] * len(gaps), contents.measures
    if draw is not None:
        cells = latent_cells(draw([row.index for row in contents.rows]).z)
        measures = [
            replace(measured, latent_cell=int(cell))
            for measured, cell in zip(measures, cells, strict=True)
        ]
        labels = draw(gaps).class_labels.tolist() if gaps else []
    return Produced(
        rows=PackedRows(contents.rows, measures),
        rejected=Counter((UNKNOWN, label) for label in labels),
        num_generator_classes=1 + max(row.class_label for row in contents.rows),
        generate_s=0.0,
    )


def _gaps(task: ShardTask, rows: Sequence[SampleFacts]) -> list[int]:
    """Indices of the samples of the range that were made and are not in the tar."""
    is_ranked = task.steering is not None and task.steering.best_by is not None
    is_cut_short = len(rows) == task.num_samples and not is_ranked
    end = rows[-1].index + 1 if is_cut_short else task.first_index + task.num_indices
    kept = {row.index for row in rows}
    return [index for index in range(task.first_index, end) if index not in kept]
