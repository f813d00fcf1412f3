"""STORY 2: a task becomes a record.

Three stages work side by side: lanes compute batches, threads encode them (on the CPU the lanes do
it: there is no idle core to give it to), one thread packs the tar. Queues between them are bounded.
Two calls of `make` may overlap: the second computes while the
first still encodes, packs and commits, so the device never waits at a shard's border.

The order of writes is the promise: the tar, then its sidecar table, then the receipt, which alone
says that the shard exists.
"""

import contextlib
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from factory.accept import reason_to_drop
from factory.data import LatentBatch, Sample, ShardTask
from factory.errors import Interrupted, ShardError, StoreError
from factory.generate.base import Generator
from factory.generate.latents import LatentSampler
from factory.identity import digest_of_file
from factory.manifest import ShardRecord, encode_record, read_record, receipt_path
from factory.measure import latent_cells
from factory.pack.facts import encode_sidecar
from factory.pack.packing import EncodedSample, PackedRows, Packing, encode_batch
from factory.pack.tar import ShardWriter
from factory.pool import RankedPool
from factory.provenance import cpu_name
from factory.receipt import Produced, make_record
from factory.segment.base import Segmenter
from factory.spec import DatasetSpec
from factory.store import Store
from factory.store.local import explain_os_error


@dataclass(frozen=True, slots=True)
class Crew:
    """How many threads a maker may use. No number here changes a byte."""

    lanes: int
    """Batches computed side by side."""
    encoders: int
    """Batches encoded side by side while others are computed; 0 = each lane encodes its own."""


class ShardMaker:
    """Makes shards of one dataset. Thread-safe."""

    def __init__(
        self,
        dataset: DatasetSpec,
        generator: Generator,
        segmenter: Segmenter,
        store: Store,
        *,
        device: torch.device,
        crew: Crew,
        run_id: str,
    ) -> None:
        """Hold what every shard of the dataset needs."""
        self.dataset = dataset
        self.generator = generator
        self.segmenter = segmenter
        self.store = store
        self.device = device
        self.run_id = run_id
        self.stop = threading.Event()
        """Set it to make every call of `make` end soon, with nothing left behind."""
        self._sampler = LatentSampler(generator, dataset.latents, dataset.generator)
        self._crew = crew
        self._lanes = ThreadPoolExecutor(crew.lanes, "lane")
        self._encoders = ThreadPoolExecutor(crew.encoders, "encode") if crew.encoders else None
        self._packers = ThreadPoolExecutor(2, "pack")
        self._turn = threading.Lock()
        is_gpu = device.type == "cuda"
        self._device_name = torch.cuda.get_device_name(device) if is_gpu else cpu_name()
        self._depth = 2 * max(crew.lanes, crew.encoders)

    def make(self, task: ShardTask) -> ShardRecord:
        """Make the shard `task` asks for, and commit it; or return its record if it exists.

        Raises:
            ShardError: If no sample of its range is accepted.
            StoreError: If the output refuses the files.
            Interrupted: If `stop` was set.
        """
        done = self._find_record(task)
        if done is not None:
            return done
        started = time.monotonic()
        # A worker that was killed leaves its file: every attempt has a name of its own.
        path = self.store.work_folder(self.run_id) / f"{task.name}-{secrets.token_hex(4)}.tar"
        try:
            with ShardWriter(path) as writer:
                produced = self._produce(task, writer)
                packed = writer.finish()
        except OSError as error:
            raise explain_os_error(path, error) from error
        record = make_record(
            task,
            produced,
            packed,
            wall_s=time.monotonic() - started,
            device=self._device_name,
            run_id=self.run_id,
        )
        return self._commit(task, path, record, produced.rows)

    def replay(self, task: ShardTask, index: int) -> EncodedSample:
        """Make one sample of `task` again, exactly as it was made for its shard."""
        size = self.dataset.batch_size
        first = index - (index - task.first_index) % size
        count = min(size, task.first_index + task.num_indices - first)
        sample = self._compute(task, first, count)[index - first]
        return self._encode(task.dataset_id, [sample])[0]

    def _find_record(self, task: ShardTask) -> ShardRecord | None:
        name = receipt_path(task.round_index, task.shard_index)
        data = self.store.read(name)
        return read_record(data, source=f"{self.store.uri}/{name}") if data else None

    def _produce(self, task: ShardTask, writer: ShardWriter) -> Produced:
        """Compute, encode and pack the samples of `task`, each stage as far ahead as queues let it."""
        with self._turn:
            started = time.monotonic()
            packing = Packing(writer, self._packers, limit=task.num_samples, depth=self._depth)
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
                f"shard {task.name}: none of {task.num_indices} samples was accepted ({counts}); "
                "loosen dataset.accept or raise dataset.oversample"
            )
        return Produced(rows, rejected, self.generator.facts.num_classes, generate_s)

    def _fill(self, task: ShardTask, packing: Packing) -> Counter[tuple[str, int]]:
        """Send the samples to keep to `packing`; count the others by reason and generator class."""
        if task.steering is not None and task.steering.best_by is not None:
            return self._fill_ranked(task, task.steering.best_by, packing)
        rejected: Counter[tuple[str, int]] = Counter()
        num_accepted = 0
        for batch in self._batches(task):
            rejected += batch.rejected
            num_accepted += batch.num_accepted
            packing.put(batch.encoded)
            if num_accepted >= task.num_samples or packing.has_failed:
                break
        return rejected

    def _fill_ranked(
        self, task: ShardTask, class_id: int, packing: Packing
    ) -> Counter[tuple[str, int]]:
        """As `_fill`, when the best of the whole range are kept instead of the first."""
        pool = RankedPool(task.num_samples, class_id)
        rejected: Counter[tuple[str, int]] = Counter()
        for batch in self._batches(task):
            rejected += batch.rejected
            for label, count in pool.add(batch.encoded.result()).items():
                rejected["outranked", label] += count
        chosen: Future[list[EncodedSample]] = Future()
        chosen.set_result(pool.close())
        packing.put(chosen)
        return rejected

    def _batches(self, task: ShardTask) -> Iterator["_Batch"]:
        """The batches of the task's range, in order.

        Borders follow from the range alone, and the last batch is padded to full size, because the
        size of a batch changes floating-point sums.
        """
        size = self.dataset.batch_size
        firsts = iter(range(task.first_index, task.first_index + task.num_indices, size))
        window: deque[Future[_Batch]] = deque()
        try:
            while True:
                while len(window) <= self._crew.lanes:
                    first = next(firsts, None)
                    if first is None:
                        break
                    count = min(size, task.first_index + task.num_indices - first)
                    window.append(self._lanes.submit(self._work, task, first, count))
                if not window:
                    return
                if self.stop.is_set():
                    raise Interrupted(f"shard {task.name}: stopped before it was whole")
                yield window.popleft().result()
        finally:
            for future in window:
                future.cancel()

    def _work(self, task: ShardTask, first: int, count: int) -> "_Batch":
        """One batch, computed and judged; encoded here too unless there are threads for that."""
        rejected: Counter[tuple[str, int]] = Counter()
        accepted = []
        for sample in self._compute(task, first, count):
            reason = reason_to_drop(sample, self.dataset.accept, task.steering)
            if reason is None:
                accepted.append(sample)
            else:
                rejected[reason, sample.class_label] += 1
        if self._encoders is None:
            encoded: Future[list[EncodedSample]] = Future()
            encoded.set_result(self._encode(task.dataset_id, accepted))
        else:
            encoded = self._encoders.submit(self._encode, task.dataset_id, accepted)
        return _Batch(encoded, len(accepted), rejected)

    def _compute(self, task: ShardTask, first: int, count: int) -> list[Sample]:
        """Samples `first` to `first + count`, computed as one full batch."""
        last = first + count - 1
        indices = [min(first + offset, last) for offset in range(self.dataset.batch_size)]
        latents = self._sampler.draw(indices, task)
        return compute_samples(self.generator, self.segmenter, latents, count)

    def _encode(self, dataset_id: str, samples: list[Sample]) -> list[EncodedSample]:
        names = self.generator.facts.class_names
        return encode_batch(samples, self.dataset.encode, dataset_id=dataset_id, class_names=names)

    def _commit(
        self, task: ShardTask, path: Path, record: ShardRecord, rows: PackedRows
    ) -> ShardRecord:
        """First the shard, then its table, then the proof that it is whole."""
        if not self.store.publish(record.path, path):
            self._check_twin(record)
        sidecar = encode_sidecar(rows.facts, rows.measures)
        self.store.replace(f"meta/train/{task.name}.parquet", sidecar)
        name = receipt_path(task.round_index, task.shard_index)
        if not self.store.create(name, encode_record(record)):
            return self._find_record(task) or record
        return record

    def _check_twin(self, record: ShardRecord) -> None:
        """A tar that is already there (an earlier run died before its receipt) must be the same."""
        with self.store.fetch(record.path) as twin:
            found = digest_of_file(twin) if twin else "nothing"
        if found != record.sha256:
            raise StoreError(
                f"{self.store.uri}/{record.path}: there without a receipt, with sha256 {found[:16]}, "
                f"while the job makes {record.sha256[:16]}; delete that file and run the job again"
            )


@dataclass(frozen=True, slots=True)
class _Batch:
    encoded: Future[list[EncodedSample]]
    num_accepted: int
    rejected: Counter[tuple[str, int]]


def compute_samples(
    generator: Generator, segmenter: Segmenter, latents: LatentBatch, count: int
) -> list[Sample]:
    """Images and masks of `latents`, brought to the host; the first `count` of them, unpadded."""
    with torch.inference_mode():
        batch = generator.generate(latents, segmenter.layers)
        labelled = segmenter.segment(batch)
        images = batch.images.cpu().numpy()
        masks = labelled.masks.cpu().numpy()
        confidence = labelled.confidence.cpu().tolist()
        class_px = labelled.class_px.cpu().tolist()
    cells = latent_cells(latents.z)
    return [
        Sample(
            index=int(latents.indices[i]),
            image=images[i],
            mask=masks[i],
            class_label=int(latents.class_labels[i]),
            confidence=confidence[i],
            class_px=tuple(class_px[i]),
            latent_cell=int(cells[i]),
        )
        for i in range(count)
    ]
