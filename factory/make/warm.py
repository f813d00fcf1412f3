"""The first batch of a worker with a GPU, made for nothing: it compiles, and loads every kernel."""

from pathlib import Path

import torch

from factory.generate.base import Generator, load_generator
from factory.generate.fused import fuse_synthesis
from factory.generate.latents import LatentSampler
from factory.make.memory import Room
from factory.segment.base import AnySegmenter, generate_and_segment
from factory.spec import DatasetSpec


def load_fused(dataset: DatasetSpec, path: Path | None, device: torch.device) -> Generator:
    """Load the dataset's generator; on a GPU its synthesis will be compiled for the dataset's batches.

    Raises:
        FactoryError: As `load_generator`.
    """
    with torch.inference_mode(mode=False):  # gradients cannot flow through tensors made in it
        generator = load_generator(dataset.generator, path, device=device)
    fuse_synthesis(generator, dataset.batch_size, device)
    return generator


def warm_up(
    dataset: DatasetSpec, generator: Generator, segmenter: AnySegmenter, device: torch.device
) -> None:
    """Compile the synthesis for the dataset's batches, and compute one.

    Before the first shard: receipts state how synthesis was compiled, and a batch that does not fit
    into memory should end the run at its beginning.

    Raises:
        JobError: If there is too little memory for a batch; it names the size that fits.
    """
    fuse_synthesis(generator, dataset.batch_size, device)
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    latents = sampler.draw(range(dataset.batch_size))
    with torch.inference_mode():
        room = Room(dataset, generator, segmenter, device)
        room.call(lambda: generate_and_segment(generator, segmenter, latents))
