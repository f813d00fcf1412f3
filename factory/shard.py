"""STORY 2: a task becomes a record.

Three stages run concurrently, with bounded queues between them: compute threads make batches, encode
threads turn them into files (without any, compute threads do), and one thread packs the tar. Where one
thread computes on a CPU and encodes, it packs too. Two calls of `make` may overlap: the second computes
while the first is packing and committing, so that the device does not wait at a shard's border.

`make/commit.py` then writes the tar, its table and the receipt, which is the commit point.
"""

import contextlib
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch, Sample, ShardTask
from factory.dataset.receipts import find_record
from factory.edit.layouts import find_layouts, has_layouts
from factory.edit.own_layouts import read_own_layouts
from factory.errors import Interrupted, RetryableError, ShardError
from factory.generate.base import Generator
from factory.generate.fused import synthesis_version
from factory.make.accept import find_rules, split_accepted
from factory.make.backgrounds import load_backgrounds
from factory.make.commit import Origin, adopt_shard, commit_shard, make_record
from factory.make.compute import BatchMaker
from factory.make.machine import device_name, find_byte_versions
from factory.make.produced import ProducedSamples
from factory.make.ranking import TopSamples
from factory.make.threads import ThreadCounts, open_pools
from factory.make.underway import SamplesUnderway
from factory.manifest.makers import Maker, maker_of
from factory.manifest.records import ShardRecord
from factory.pack.contents import Expected
from factory.pack.packing import (
    EncodedBatch,
    EncodedSample,
    Packing,
    encode_batch,
    file_endings,
)
from factory.pack.pieces import encode_in_pieces
from factory.pack.tar import ShardWriter
from factory.segment.base import AnySegmenter, instance_classes
from factory.spec import DatasetSpec
from factory.store import Store
from factory.store.failures import explain_os_error


class ShardMaker:
    """Makes shards of one dataset. Thread-safe."""

    def __init__(
        self,
        dataset: DatasetSpec,
        generator: Generator,
        segmenter: AnySegmenter,
        store: Store,
        *,
        device: torch.device,
        threads: ThreadCounts,
        run_id: str,
    ) -> None:
        """Prepare for one dataset.

        Raises:
            JobError: If the dataset accepts samples by a class that `segmenter` does not have, or needs
                a search that generator or segmenter cannot do.
            DamageError: If its layouts or backgrounds are missing or damaged.
        """
        self.dataset = dataset
        self.generator = generator
        self.segmenter = segmenter
        self.store = store
        self.device = device
        self.run_id = run_id
        self.versions = find_byte_versions(device, dataset.encode)
        self.versions |= synthesis_version(generator, device)
        """Versions of everything that decides bytes here, as receipts state them."""
        self.stop = threading.Event()
        """Set it to interrupt all calls of `make`; they leave no files behind."""
        num_classes, side = len(segmenter.labels), generator.facts.resolution
        read = partial(read_own_layouts, store, num_classes=num_classes, side=side)
        layouts, backgrounds = None, None
        if has_layouts(dataset):
            layouts = find_layouts(store, num_classes=num_classes, side=side)
        if dataset.compose is not None and dataset.compose.folder is not None:
            backgrounds = load_backgrounds(store, side)
        beside = layouts, device, backgrounds, read
        self._batch_maker = BatchMaker(dataset, generator, segmenter, *beside)
        self._rules = find_rules(dataset.accept, segmenter.labels)
        self._pools = open_pools(threads, is_gpu=device.type == "cuda")
        self._compute_lock = threading.Lock()
        self.underway = SamplesUnderway()
        # Enough samples in the queue for every encode thread to have one, and its next one.
        self._depth = max(2 * threads.compute, 1 - (-2 * threads.encode // dataset.batch_size))

    @property
    def maker(self) -> Maker:
        """Whom the receipts of its shards name."""
        return maker_of(device_name(self.device), self.versions)

    def make(self, task: ShardTask) -> ShardRecord:
        """Make and commit the shard of `task`; idempotent: an existing shard's record is returned.

        Raises:
            ShardError: If no sample of its range is accepted, or there is a damaged tar in its place.
            RetryableError: If the store contradicts itself.
            StoreError: If the output cannot be written.
            Interrupted: If `stop` was set.
        """
        done = find_record(self.store, task) or self._adopt(task)
        if done is not None:
            return done
        with self.underway.until_committed(task):
            return self._make(task)

    def _make(self, task: ShardTask) -> ShardRecord:
        started = time.monotonic()
        # A random part in the name: a killed worker may have left its file.
        path = self.store.work_folder(self.run_id) / f"{task.name}-{secrets.token_hex(4)}.tar"
        try:
            with ShardWriter(path) as writer:
                produced = self._produce(task, writer)
                packed = writer.finish()
        except OSError as error:
            raise explain_os_error(path, error) from error
        origin = Origin(
            run_id=self.run_id,
            wall_s=time.monotonic() - started,
            generate_s=produced.generate_s,
            device=device_name(self.device),
            num_rejected=produced.num_rejected,
            versions=self.versions,
            coverage=produced.cover(),
        )
        record = make_record(task, produced.rows.facts, packed, origin)
        rows = produced.rows
        committed = commit_shard(self.store, task, path, record, rows.facts, rows.measures)
        committed = committed or self._adopt(task)
        if committed is None:
            raise RetryableError(f"shard {task.name}: the store says it is there, and has none")
        return committed

    def _adopt(self, task: ShardTask) -> ShardRecord | None:
        num_kinds = len(instance_classes(self.segmenter))
        is_edited = self.dataset.edit is not None
        endings = file_endings(
            self.dataset.encode, has_instances=num_kinds > 0, is_edited=is_edited
        )
        is_iou = self.dataset.segmenter.confidence == "agreement"
        expected = Expected(len(self.segmenter.labels), endings, num_kinds, is_iou)
        draw = partial(self._batch_maker.draw, task=task)
        return adopt_shard(self.store, task, expected, self.run_id, draw)

    def replay(self, task: ShardTask, index: int) -> EncodedSample:
        """Make one sample of `task` again, in the same batch as for its shard."""
        first, count = self._batch_of(task, index)
        sample = self._batch_maker.compute(first, count, task)[index - first]
        return self._encode(task.dataset_id, [sample])[0]

    def find_latents(
        self, task: ShardTask, index: int
    ) -> tuple[LatentBatch, Float[Tensor, "1 rows z"]]:
        """The latents that a sample of `task` was made of, as a batch of one and on the device."""
        first, count = self._batch_of(task, index)
        return self._batch_maker.find_latents(first, count, index, task)

    def _batch_of(self, task: ShardTask, index: int) -> tuple[int, int]:
        """First index and length of the batch that a sample of `task` was made in."""
        size = self.dataset.samples_per_batch
        first = index - (index - task.first_index) % size
        return first, min(size, task.first_index + task.num_indices - first)

    def _produce(self, task: ShardTask, writer: ShardWriter) -> ProducedSamples:
        """Compute, encode and pack the samples of `task`; bounded queues connect the stages."""
        # One shard computes at a time, the other call packs: two at once would compute no faster,
        # and twice the memory would be needed.
        with self._compute_lock:
            started = time.monotonic()
            packing = Packing(writer, self._pools.pack, limit=task.num_samples, depth=self._depth)
            try:
                rejected = self._fill(task, packing)
            except BaseException:
                with contextlib.suppress(Exception):
                    packing.close()
                raise
            generate_s = time.monotonic() - started
        rows = packing.close()
        if not rows.facts:
            reasons = Counter([reason for reason, _ in rejected.elements()])
            counts = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
            raise ShardError(
                f"shard {task.name}: none of {task.num_indices} samples was accepted ({counts}); loosen "
                "these rules of dataset.accept or the segmenter, or raise dataset.oversample"
            )
        return ProducedSamples(rows, rejected, self.generator.facts.num_classes, generate_s)

    def _fill(self, task: ShardTask, packing: Packing) -> Counter[tuple[str, int]]:
        """Pass accepted samples to `packing`; returns the others, counted by reason and class."""
        if task.steering is not None and task.steering.best_by is not None:
            return self._fill_ranked(task, task.steering.best_by, packing)
        rejected: Counter[tuple[str, int]] = Counter()
        num_accepted = 0
        for batch in self._batches(task):
            rejected += batch.rejected
            num_accepted += batch.num_accepted
            self.underway.update(task, min(num_accepted, task.num_samples))
            packing.put(batch.encoded)
            # Stop early: whether the shard is full follows from the samples alone, not from timing.
            if num_accepted >= task.num_samples or packing.has_failed:
                break
        return rejected

    def _fill_ranked(
        self, task: ShardTask, class_id: int, packing: Packing
    ) -> Counter[tuple[str, int]]:
        """As `_fill`, keeping the best samples of the whole range instead of the first ones."""
        top = TopSamples(task.num_samples, class_id)
        num_tried = 0
        rejected: Counter[tuple[str, int]] = Counter()
        for batch in self._batches(task):
            rejected += batch.rejected
            num_tried += batch.num_accepted + batch.rejected.total()
            self.underway.update(task, num_tried * task.num_samples // task.num_indices)
            for label, count in top.add(batch.encoded.result()).items():
                rejected["outranked", label] += count
        chosen: Future[list[EncodedSample]] = Future()
        chosen.set_result(top.close())
        packing.put(chosen)
        return rejected

    def _batches(self, task: ShardTask) -> Iterator["_Batch"]:
        """The batches of the task's range, in order.

        Borders follow from the range alone, and the last batch is padded to full size, because the
        size of a batch changes floating-point sums.
        """
        size = self.dataset.samples_per_batch
        firsts = iter(range(task.first_index, task.first_index + task.num_indices, size))
        window: deque[Future[_Batch]] = deque()
        try:
            while True:
                for first in islice(firsts, 1 + self._pools.num_ahead - len(window)):
                    count = min(size, task.first_index + task.num_indices - first)
                    window.append(self._submit(task, first, count))
                if not window:
                    return
                if self.stop.is_set():
                    raise Interrupted(f"shard {task.name}: stopped before it was whole")
                yield window.popleft().result()
        finally:
            for future in window:
                future.cancel()

    def _submit(self, task: ShardTask, first: int, count: int) -> "Future[_Batch]":
        """Compute a batch and filter it; encode it too unless there are encode threads."""
        start = partial(self._batch_maker.start, first, count, task)
        if self._pools.copy is None:
            return self._pools.compute.submit(lambda: self._filter(task, start()()))
        # The next batch is computed while the host waits for the copies of this one.
        begun = self._pools.compute.submit(start)
        return self._pools.copy.submit(lambda: self._filter(task, begun.result()()))

    def _filter(self, task: ShardTask, samples: Sequence[Sample]) -> "_Batch":
        accepted, rejected = split_accepted(samples, self._rules, task.steering)
        encode = partial(self._encode, task.dataset_id)
        if self._pools.encode is not None:
            pieces = encode_in_pieces(accepted, encode, self._pools.encode)
            return _Batch(pieces, len(accepted), rejected)
        encoded: Future[list[EncodedSample]] = Future()
        encoded.set_result(encode(accepted))
        return _Batch(encoded, len(accepted), rejected)

    def _encode(self, dataset_id: str, samples: Sequence[Sample]) -> list[EncodedSample]:
        names = self.generator.facts.class_names
        return encode_batch(samples, self.dataset.encode, dataset_id=dataset_id, class_names=names)


@dataclass(frozen=True, slots=True)
class _Batch:
    encoded: EncodedBatch
    num_accepted: int
    rejected: Counter[tuple[str, int]]
