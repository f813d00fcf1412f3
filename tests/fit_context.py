"""A bench on given vectors, or on pixels of the toy generator: nothing mocked, nothing sampled twice."""

from pathlib import Path

import torch
from small_job import small_job

from factory.fit.context import Checkpoint, FitContext
from factory.fit.pixels.pool import LanePool
from factory.fit.pixels.sampling import NUM_PARTS
from factory.fit.progress import Progress
from factory.generate.base import Generator, load_generator
from factory.spec import DatasetSpec
from factory.store import LocalStore

CPU = torch.device("cpu")


def make_context(
    folder: Path, dataset: DatasetSpec | None = None, generator: Generator | None = None
) -> FitContext:
    """A bench without pixels; `stages` of its progress go nowhere."""
    dataset = dataset or small_job(folder).dataset
    generator = generator or load_generator(dataset.generator, None, device=CPU)
    pool = LanePool(generator, dataset, CPU, 1)
    checkpoint = Checkpoint(LocalStore(str(folder / "checkpoints")), "it")
    return FitContext(dataset, "", pool, Progress(lambda *_: None), checkpoint)


def context_of(
    folder: Path, vectors: torch.Tensor, owners: torch.Tensor | None = None
) -> FitContext:
    """A bench whose pixels are `vectors`, and lie in the clusters `owners`."""
    bench = make_context(folder)
    for part, rows in zip(bench.pool.parts, torch.tensor_split(vectors, NUM_PARTS), strict=True):
        part.use(rows.clone())
    if owners is not None:
        for part, ids in zip(bench.pool.parts, torch.tensor_split(owners, NUM_PARTS), strict=True):
            part._owners = ids.to(torch.uint8)
    return bench
