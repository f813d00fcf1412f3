"""The first batch of a worker with a GPU, made for nothing: it compiles, and loads every kernel."""

import torch

from factory.generate.base import Generator
from factory.generate.fused import fuse_synthesis
from factory.generate.latents import LatentSampler
from factory.make.memory import is_out_of_memory, too_large_batch
from factory.segment.base import AnySegmenter, generate_and_segment
from factory.spec import DatasetSpec


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
    try:
        with torch.inference_mode():
            generate_and_segment(generator, segmenter, sampler.draw(range(dataset.batch_size)))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    else:
        return
    raise too_large_batch(dataset, generator, segmenter, device)
