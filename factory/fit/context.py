"""Inputs shared by all fitters: pixel pool, progress callback, checkpoint."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from factory.errors import FactoryError
from factory.fit.current import corners_of
from factory.fit.pixels.extent import constant_channels
from factory.fit.pixels.pool import PixelPool, ThreadedPixelPool
from factory.fit.pixels.sampling import NUM_PARTS, Sampling
from factory.fit.progress import Progress
from factory.generate.base import Generator
from factory.generate.weights.find import LocalWeights
from factory.manifest.labels import MaskClass
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter
from factory.spec import DatasetSpec
from factory.store import LocalStore

_EVERY_S = 10.0


class Checkpoint:
    """Checkpoint of a fit, a file in the cache. It saves time: a fit without it gives the same bytes."""

    def __init__(self, store: LocalStore, name: str) -> None:
        """Use the file `name`, which identifies the fit: no other fit reads it."""
        self._store, self._name = store, name
        self._saved = time.monotonic()

    def load(self) -> dict[str, Tensor]:
        """Load the latest save; empty if there is none, or if it cannot be read."""
        try:
            data = self._store.read(self._name)
            return load(data) if data else {}
        except (FactoryError, SafetensorError):
            return {}

    def save(self, tensors: dict[str, Tensor], *, now: bool = False) -> None:
        """Replace the file atomically, unless that was done within the last seconds."""
        if now or time.monotonic() - self._saved > _EVERY_S:
            whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            with contextlib.suppress(FactoryError):
                self._store.replace(self._name, save(whole))
            self._saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file, once the fit is done."""
        with contextlib.suppress(OSError):
            (self._store.root / self._name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class FitContext:
    """Inputs shared by all fitters, besides their settings."""

    dataset: DatasetSpec
    """The dataset that is fitted for; its `segmenter` is the method's section of the job."""
    weights: LocalWeights
    """The generator's weights on this machine."""
    pool: PixelPool
    """Feature vectors of pixels, distributed over threads or workers."""
    progress: Progress
    """Reports progress, and stops the fit on request."""
    checkpoint: Checkpoint
    """Saves what was found so far."""

    @property
    def generator(self) -> Generator:
        """The generator, for methods that need more than its pixels: they are never distributed."""
        # `run.fitting.must_distribute` sees to that.
        assert isinstance(self.pool, ThreadedPixelPool)
        return self.pool.generator

    def encode(
        self,
        tensors: dict[str, Tensor],
        *,
        layers: Sequence[str],
        labels: Sequence[MaskClass],
        fitted_on: dict[str, int | float],
        margin_scale: float = 1.0,
    ) -> bytes:
        """The bytes of the segmenter file: what was found, and what it was found for.

        Args:
            tensors: By name; a linear head has `bias` and one `weight_name(layer)` for each layer.
            layers: Feature maps that the segmenter reads.
            labels: Classes of its masks.
            fitted_on: Numbers about the fit, kept in the dataset's manifest.
            margin_scale: Median lead of the best class over the second, in logits.

        Returns:
            What a fitter returns.
        """
        facts = SegmenterFacts(
            kind=self.dataset.segmenter.kind,
            generator_kind=self.dataset.generator.kind,
            weights_sha256=self.weights.sha256,
            layers=list(layers),
            labels=list(labels),
            margin_scale=margin_scale,
            fitted_on=fitted_on,
            corners=corners_of(self.dataset.segmenter),
        )
        return encode_segmenter(tensors, facts)

    def sample(self, sampling: Sampling, stage: str, *, settle: bool = False) -> None:
        """Fill all parts with pixels; previous ones are dropped.

        With `settle`, channels that are constant up to rounding are set to 0: planes then have no weight
        for them. Without, they are left as they are, as they were in fits of before.

        Raises:
            JobError: If a feature is no finite number, or all are the same at all pixels.
        """
        size = self.dataset.batch_size
        steps = max(len(sampling.batches(part, size)) for part in range(NUM_PARTS))
        self.progress.begin(stage, sampling.num_images)
        for step in range(steps):
            self.pool.update("sample", sampling, step, completed=self.progress.advance)
        constant = constant_channels(self.pool.query("extent"), sampling)
        if settle and bool(constant.any()):
            self.pool.update("settle", self.keep(constant))

    def keep(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the device of the pool's results."""
        return tensor.to(self.pool.device)


def median_of(answers: list[Tensor]) -> float:
    """Median over the results of all parts."""
    return float(torch.cat(answers).median())
