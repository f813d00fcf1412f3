"""Fit contexts on given vectors, or on pixels of the toy generator: nothing is mocked."""

from pathlib import Path

import torch
from small_job import small_job

from factory.fit.context import Checkpoint, FitContext
from factory.fit.pixels.pool import ThreadedPixelPool
from factory.fit.pixels.sampling import NUM_PARTS
from factory.fit.pixels.separation import HingeLoss, separate
from factory.fit.progress import Progress
from factory.generate.base import Generator, load_generator
from factory.generate.weights.find import LocalWeights
from factory.spec import DatasetSpec
from factory.store import LocalStore

CPU = torch.device("cpu")


def make_context(
    folder: Path, dataset: DatasetSpec | None = None, generator: Generator | None = None
) -> FitContext:
    """A fit context without pixels; `stages` of its progress go nowhere."""
    dataset = dataset or small_job(folder).dataset
    generator = generator or load_generator(dataset.generator, None, device=CPU)
    pool = ThreadedPixelPool(generator, dataset, CPU, 1)
    checkpoint = Checkpoint(LocalStore(str(folder / "checkpoints")), "it")
    return FitContext(dataset, LocalWeights(None, ""), pool, Progress(lambda *_: None), checkpoint)


def context_of(
    folder: Path, vectors: torch.Tensor, owners: torch.Tensor | None = None
) -> FitContext:
    """A fit context whose pixels are `vectors`, and lie in the clusters `owners`."""
    context = make_context(folder)
    for part, rows in zip(context.pool.parts, torch.tensor_split(vectors, NUM_PARTS), strict=True):
        part.use(rows.clone())
    if owners is not None:
        for part, ids in zip(
            context.pool.parts, torch.tensor_split(owners, NUM_PARTS), strict=True
        ):
            part._owners = ids.to(torch.uint8)
    return context


def mixture(
    num_pixels: int = 300, num_channels: int = 5, num_classes: int = 4, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Overlapping blobs with ids, and random planes near their pixels."""
    torch.manual_seed(seed)
    ids = torch.arange(num_pixels) % num_classes
    vectors = torch.randn(num_classes, num_channels)[ids] + torch.randn(num_pixels, num_channels)
    return vectors, ids, torch.randn(num_classes, num_channels + 1) / 2


def loss_of(folder: Path, vectors: torch.Tensor, ids: torch.Tensor) -> HingeLoss:
    """The loss of planes that separate the clusters `ids` of `vectors`."""
    return HingeLoss(context_of(folder, vectors, ids).pool, len(vectors))


def found_planes(
    loss: HingeLoss, classes: torch.Tensor, start: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The planes of least loss, searched for from `start`, and the rounds each took."""
    return separate(loss, classes, start, lambda _: None)
