"""The last pipeline stage: encode samples and write them to a tar in order."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import Queue
from typing import Protocol, runtime_checkable

from factory.data import Sample
from factory.manifest.measure import UNKNOWN, Measures, measure_samples
from factory.pack.facts import SampleFacts, encode_facts, make_facts
from factory.pack.image import IMAGE_ENDING, encode_image, encode_instances, encode_mask
from factory.pack.tar import ShardWriter
from factory.spec import EncodeSpec


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """One sample as files."""

    facts: SampleFacts
    files: tuple[tuple[str, bytes], ...]
    """(ending, bytes), in the order of the tar."""
    measures: Measures = UNKNOWN
    """Its measures; they go into the sidecar table, not into the tar."""


def encode_sample(
    sample: Sample, spec: EncodeSpec, *, dataset_id: str, class_names: tuple[str, ...]
) -> EncodedSample:
    """Encode the files of `sample`: image, mask, what else it has (`file_endings`), facts."""
    facts = make_facts(sample, dataset_id=dataset_id, class_names=class_names)
    image = sample.image if sample.rgba is None else sample.rgba
    files = [encode_image(image, spec), encode_mask(sample.mask)]
    if sample.confidence_by_px is not None:
        files.append(encode_mask(sample.confidence_by_px))
    if sample.alpha_by_px is not None:
        files.append(encode_mask(sample.alpha_by_px))
    if sample.instances is not None:
        files.append(encode_instances(sample.instances.ids))
    if sample.edit is not None:
        edited = sample.edit.image if sample.edit.rgba is None else sample.edit.rgba
        files += [encode_image(edited, spec), encode_mask(sample.edit.mask)]
    files.append(encode_facts(facts))
    endings = file_endings(
        spec, has_instances=sample.instances is not None, is_edited=sample.edit is not None
    )
    return EncodedSample(facts, tuple(zip(endings, files, strict=True)))


def file_endings(
    spec: EncodeSpec, *, has_instances: bool = False, is_edited: bool = False
) -> list[str]:
    """The endings of a sample's files, in the order of the tar."""
    confidence = ["confidence.png"] if spec.confidence else []
    alpha = ["alpha.png"] if spec.alpha else []
    instances = ["instances.png"] if has_instances else []
    image = IMAGE_ENDING[spec.image]
    edited = [f"edited.{image}", "edited_mask.png"] if is_edited else []
    return [f"image.{image}", "mask.png", *confidence, *alpha, *instances, *edited, "json"]


def encode_batch(
    samples: Sequence[Sample], spec: EncodeSpec, *, dataset_id: str, class_names: tuple[str, ...]
) -> list[EncodedSample]:
    """Encode and measure samples of one size."""
    return [
        replace(
            encode_sample(sample, spec, dataset_id=dataset_id, class_names=class_names),
            measures=measured,
        )
        for sample, measured in zip(samples, measure_samples(samples), strict=True)
    ]


@dataclass(slots=True)
class PackedRows:
    """Facts and measures of a tar's samples, in its order."""

    facts: list[SampleFacts] = field(default_factory=list)
    measures: list[Measures] = field(default_factory=list)


@runtime_checkable
class EncodedBatch(Protocol):
    """A batch that is encoded, or being encoded: a future, or the pieces of `pack/pieces.py`."""

    def result(self) -> list[EncodedSample]:
        """Wait for it.

        Raises:
            Exception: Whatever stopped an encoder.
        """


class Packing:
    """Writes batches to `writer` in the order they are queued, as soon as they are encoded."""

    def __init__(
        self, writer: ShardWriter, threads: ThreadPoolExecutor | None, *, limit: int, depth: int
    ) -> None:
        """Start on a thread of `threads`; without any, `put` writes.

        The first `limit` samples are written. At most `depth` batches are queued; then `put` blocks.
        """
        self._writer = writer
        self._limit = limit
        self._rows = PackedRows()
        self._queue: Queue[EncodedBatch | None] = Queue(depth)
        self._failed = threading.Event()
        self._done = threads.submit(self._write_queued) if threads is not None else None

    @property
    def has_failed(self) -> bool:
        """Whether writing on a thread has failed; `close` raises the reason."""
        return self._failed.is_set()

    def put(self, batch: EncodedBatch) -> None:
        """Queue a batch that is being encoded, or write it.

        Raises:
            Exception: Whatever stopped an encoder or the writer, if this thread writes.
        """
        if self._done is None:
            self._write(batch)
        else:
            self._queue.put(batch)

    def close(self) -> PackedRows:
        """Wait for the remaining batches; returns facts and measures of all samples, in order.

        Raises:
            Exception: Whatever stopped an encoder or the writer.
        """
        if self._done is not None:
            self._queue.put(None)
            self._done.result()
        return self._rows

    def _write(self, batch: EncodedBatch) -> None:
        for sample in batch.result()[: self._limit - len(self._rows.facts)]:
            key = sample.facts.key
            self._writer.add([(f"{key}.{ending}", data) for ending, data in sample.files])
            self._rows.facts.append(sample.facts)
            self._rows.measures.append(sample.measures)

    def _write_queued(self) -> None:
        try:
            while (batch := self._queue.get()) is not None:
                self._write(batch)
        except BaseException:
            self._failed.set()
            # Drain the queue up to `close`: a producer blocked in `put` would never notice the
            # failure.
            while self._queue.get() is not None:
                pass
            raise
