"""Pairs generated on the fly: a job's generator and segmenter as a PyTorch dataset, without files.

The pairs are those that the job's shards would contain, pixel for pixel: index ranges, batch borders,
padding and lossy encoding are the same. Unlike a shard, a stream keeps every accepted sample of a range.
"""

import math
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch.utils.data import IterableDataset

from factory.arguments import check_arguments
from factory.data import Sample
from factory.dataset.torch_dataset import Pair, Part, make_edited, make_pair
from factory.edit.layouts import has_layouts
from factory.errors import JobError, PluginError, ShardError
from factory.fit.fitted import needs_fitting
from factory.fit.pixels.pool import one_thread
from factory.generate.weights.find import LocalWeights, find_weights
from factory.identity import sample_key
from factory.make.accept import find_rules, reason_to_drop
from factory.make.compute import BatchMaker
from factory.make.warm import load_fused
from factory.manifest.labels import MaskClass
from factory.pack.image import decode_image, encode_image
from factory.run.backgrounds import read_given
from factory.run.fitting import find_or_fit, finish_for
from factory.run.layouts import read_masks_of
from factory.run.opinions import find_opinions
from factory.run.progress import progress_reporter
from factory.run.signals import stop_on_signals
from factory.run.worker import device_of
from factory.segment.methods import check_methods
from factory.segment.opinions import ComparedSegmenter, load_fitted, read_opinions
from factory.spec import DatasetSpec, EncodeSpec
from factory.spec.read import Job, as_job

_MOST_SAMPLES = 2**63
_MOST_REJECTED = 1000
"""Consecutive rejected samples after which a stream raises an error instead of searching on."""


@check_arguments
def stream(
    job: Job,
    *,
    num_samples: int | None = None,
    device: str | torch.device | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    transform: Callable[[Pair], Any] | None = None,
    progress: bool = True,
) -> "PairStream":
    """Generate image/mask pairs on demand, without a dataset.

    Weights are loaded, and the segmenter is taken from the cache or fitted, before this returns: loader
    workers get the result. `output` is ignored, and so is `run` but for the device. Coverage
    targets have no effect.

    Args:
        job: A validated job, the path of its file, or plain values.
        num_samples: Number of pairs over all ranks and loader workers; None = infinite.
        device: Where to compute, such as `cuda:1`; None = where the job's `run` says.
        rank: Rank of this process. None with `world_size` None = those of `torch.distributed` if it is
            initialised, else a single process.
        world_size: Number of processes that share the pairs.
        transform: Called on each pair, in the worker; its result is yielded instead.
        progress: Show the progress of downloads and of a fit, as `run_job` does.

    Raises:
        JobError, PluginError, WeightsError: If the job cannot start.
        Interrupted: If the fit was stopped; the next call resumes it.
    """
    spec = as_job(job)
    if num_samples is not None and not 1 <= num_samples < _MOST_SAMPLES:
        allowed = "at least 1, or None for no end"
        raise JobError(where="num_samples", found=f"found {num_samples}", allowed=allowed)
    check_methods(spec.dataset.segmenter)
    stop = threading.Event()
    with stop_on_signals(stop), progress_reporter(progress=progress) as observer:
        if needs_fitting(spec.dataset):
            found = find_or_fit(spec, observer, stop)
            weights, fitted = found.weights, found.fitted
        else:
            weights, fitted = find_weights(spec.dataset.generator, observer.downloading), b""
        fitted = finish_for(spec, weights, fitted, observer.fitting, stop)
        opinions = find_opinions(spec, weights, fitted, on_progress=observer.fitting, stop=stop)
    chosen = _check_device(device, device_of(spec.run))
    source = _Source(spec.dataset, weights, (fitted, opinions), chosen)
    return PairStream(source, num_samples, Part(rank, world_size), transform)


class PairStream(IterableDataset[Any]):
    """Image/mask pairs that are generated on demand; `stream` makes one.

    Yields a `Pair`. Ranks and loader workers generate different pairs, which follow from their numbers
    alone, so that a stream is reproducible.
    """

    def __init__(
        self,
        source: "_Source",
        num_samples: int | None,
        part: Part,
        transform: Callable[[Pair], Any] | None,
    ) -> None:
        """Make pairs of `source`."""
        self._source = source
        self._num_samples = num_samples
        self._part = part
        self._transform = transform

    @property
    def labels(self) -> list[MaskClass]:
        """The mask classes: id, name, colour."""
        return list(self._source.maker().segmenter.labels)

    def __iter__(self) -> Iterator[Any]:
        """Make the pairs of this rank and loader worker, batch after batch."""
        (rank, world_size), (worker, num_workers) = self._part.rank(), self._part.worker()
        part, num_parts = rank * num_workers + worker, world_size * num_workers
        wanted = None
        if self._num_samples is not None:
            wanted = self._num_samples // num_parts + (part < self._num_samples % num_parts)
        encode = self._source.dataset.encode
        for sample in islice(self._source.samples(part, num_parts), wanted):
            pair = _pair_of(sample, encode)
            yield self._transform(pair) if self._transform else pair


class _Source:
    """What makes samples, in whatever process it is needed."""

    def __init__(
        self,
        dataset: DatasetSpec,
        weights: LocalWeights,
        files: tuple[bytes, bytes],
        device: torch.device,
    ) -> None:
        """Make samples with a segmenter file, and one of other methods; either may be empty."""
        self.dataset = dataset
        self._weights, self._device = weights, device
        self._fitted, self._opinions = files
        # A forked process shares the memory of what was loaded on a CPU.
        self._maker = self._load() if device.type == "cpu" else None

    def __getstate__(self) -> dict[str, Any]:
        """A spawned process loads generator and segmenter itself."""
        return self.__dict__ | {"_maker": None}

    def maker(self) -> BatchMaker:
        """Give generator and segmenter, loaded once in a process."""
        if self._maker is None:
            self._maker = self._load()
        return self._maker

    def samples(self, part: int, num_parts: int) -> Iterator[Sample]:
        """Make the accepted samples of every `num_parts`-th batch, from number `part` on.

        Raises:
            ShardError: If very many in a row are rejected.
        """
        maker = self.maker()
        rules = find_rules(self.dataset.accept, maker.segmenter.labels)
        rejected: Counter[str] = Counter()
        for first, num_indices in _batches(self.dataset, part, num_parts):
            with one_thread():  # sums depend on it; between batches, the process is its owner's
                samples = maker.compute(first, num_indices)
            for sample in samples:
                reason = reason_to_drop(sample, rules)
                if reason is None:
                    rejected.clear()
                    yield sample
                else:
                    rejected[reason] += 1
            if rejected.total() >= _MOST_REJECTED:
                counts = ", ".join(f"{name}: {count}" for name, count in rejected.most_common())
                raise ShardError(
                    where="stream",
                    found=f"none of {rejected.total()} samples in a row was accepted ({counts})",
                    remedy="loosen these rules of dataset.accept or the segmenter",
                )

    def _load(self) -> BatchMaker:
        if self._device.type == "cuda" and torch.cuda._is_in_bad_fork():
            raise PluginError(
                where="stream",
                found="a forked process cannot use the GPU",
                remedy="give the DataLoader num_workers=0, or multiprocessing_context='spawn'",
            )
        path = self._weights.path
        generator = load_fused(self.dataset, path, self._device)
        settings, facts = self.dataset.segmenter, generator.facts
        segmenter = load_fitted(settings, self._fitted, facts, self._device)
        if self.dataset.agreement is not None:
            with tempfile.NamedTemporaryFile(suffix=".tar") as file:
                path = Path(file.name)
                path.write_bytes(self._opinions)
                others = read_opinions(
                    path, self.dataset.agreement, facts, self._device, source="stream"
                )
            segmenter = ComparedSegmenter(segmenter, others)
        find_rules(self.dataset.accept, segmenter.labels)  # says at once that a class is misspelt
        layouts = None
        if has_layouts(self.dataset):
            digests = self._weights.sha256, sha256(self._fitted).hexdigest() if self._fitted else ""
            layouts = read_masks_of(self.dataset, generator, segmenter.labels, digests)
        backgrounds = read_given(self.dataset.compose, facts.resolution)
        return BatchMaker(self.dataset, generator, segmenter, layouts, self._device, backgrounds)


def _batches(dataset: DatasetSpec, part: int, num_parts: int) -> Iterator[tuple[int, int]]:
    """First index and length of every `num_parts`-th batch of the job's shards, without end."""
    range_size = math.ceil(dataset.samples_per_shard * dataset.oversample)
    per_range = math.ceil(range_size / dataset.samples_per_batch)
    number = part
    while True:
        shard, place = divmod(number, per_range)
        start = place * dataset.samples_per_batch
        length = min(dataset.samples_per_batch, range_size - start)
        yield shard * range_size + start, length
        number += num_parts


def _pair_of(sample: Sample, encode: EncodeSpec) -> Pair:
    ids = sample.instances.ids if sample.instances else None
    pair = make_pair(
        sample_key(sample.index),
        _as_stored(sample.image, encode),
        sample.mask,
        sample.class_label,
        sample.confidence_by_px,
        ids,
        sample.alpha_by_px,
    )
    if sample.edit is not None:
        pair |= make_edited(_as_stored(sample.edit.image, encode), sample.edit.mask)
    return pair


def _as_stored(image: UInt8[np.ndarray, "h w 3"], encode: EncodeSpec) -> UInt8[np.ndarray, "h w 3"]:
    """What a shard would give back: JPEG is lossy."""
    return decode_image(encode_image(image, encode)) if encode.image == "jpeg" else image


def _check_device(device: str | torch.device | None, default: torch.device) -> torch.device:
    refusal = JobError(where="device", found=f"found {device!r}", allowed="cpu, cuda or cuda:N")
    try:
        chosen = default if device is None else torch.device(device)
    except RuntimeError as error:
        raise refusal from error
    if chosen.type not in ("cpu", "cuda"):
        raise refusal
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise PluginError(
            where="device", found=f"found {chosen}, and PyTorch sees no GPU here", remedy="use cpu"
        )
    return chosen
