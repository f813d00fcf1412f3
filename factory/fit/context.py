"""What every fit works with: the pixels, somebody who is told how far it is, and a checkpoint."""

import contextlib
import time
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from factory.errors import FactoryError
from factory.fit.pixels.pool import LanePool, Pool
from factory.fit.pixels.sampling import NUM_PARTS, Sampling
from factory.fit.progress import Progress
from factory.generate.base import Generator
from factory.spec import DatasetSpec
from factory.store import LocalStore

_EVERY_S = 10.0


class Checkpoint:
    """What a fit has found so far, in a file of the cache. It saves time and is never needed."""

    def __init__(self, store: LocalStore, name: str) -> None:
        """The file `name`: it says which fit it is, so that no other one reads it."""
        self._store, self._name = store, name
        self._saved = time.monotonic()

    def load(self) -> dict[str, Tensor]:
        """What was saved last; empty if nothing was, or if it cannot be read."""
        try:
            data = self._store.read(self._name)
            return load(data) if data else {}
        except (FactoryError, SafetensorError):
            return {}

    def save(self, tensors: dict[str, Tensor], *, now: bool = False) -> None:
        """Replace the file, all or nothing, unless that was done within the last seconds."""
        if now or time.monotonic() - self._saved > _EVERY_S:
            whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            with contextlib.suppress(FactoryError):
                self._store.replace(self._name, save(whole))
            self._saved = time.monotonic()

    def remove(self) -> None:
        """The fit is done."""
        with contextlib.suppress(OSError):
            (self._store.root / self._name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class FitContext:
    """The workplace of one fit."""

    dataset: DatasetSpec
    pool: Pool
    progress: Progress
    checkpoint: Checkpoint

    @property
    def generator(self) -> Generator:
        """The generator, for methods that need more of it than pixels: they are never spread."""
        assert isinstance(self.pool, LanePool)  # `run.fitting.must_distribute` sees to that
        return self.pool.generator

    def sample(self, sampling: Sampling, stage: str) -> None:
        """Fill all parts with pixels; those they had are gone."""
        size = self.dataset.batch_size
        steps = max(len(sampling.batches(part, size)) for part in range(NUM_PARTS))
        self.progress.begin(stage, sampling.num_images)
        for step in range(steps):
            self.pool.update("sample", sampling, step, completed=self.progress.advance)

    def keep(self, tensor: Tensor) -> Tensor:
        """The tensor, where answers are."""
        return tensor.to(self.pool.device)


def median_of(answers: list[Tensor]) -> float:
    """Median of what all parts answered with."""
    return float(torch.cat(answers).median())
