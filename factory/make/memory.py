"""Batches that do not fit into memory: which size would, as one line of an error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from factory.errors import JobError
from factory.generate.base import Generator
from factory.generate.latents import LatentSampler
from factory.make.machine import device_name
from factory.segment.base import AnySegmenter, generate_and_segment
from factory.spec import DatasetSpec

Result = TypeVar("Result")

_ON_CPU = "DefaultCPUAllocator: can't allocate memory"
"""What PyTorch says on a CPU, where it has no type of error for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch found no memory for a tensor, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and _ON_CPU in str(error)
    )


def largest_that_fits(attempt: Callable[[int], None], size: int) -> int:
    """The largest number below `size` for which `attempt` finds memory, to within an eighth; 0 if none.

    Raises:
        Exception: Whatever else stops an attempt.
    """
    fits, fails = 0, size
    while fails - fits > max(1, fits // 8):
        tried = (fits + fails) // 2 if fits else fails // 2
        if tried < 1:
            break
        if _succeeds(attempt, tried):
            fits = tried
        else:
            fails = tried
    return fits


def _succeeds(attempt: Callable[[int], None], size: int) -> bool:
    try:
        attempt(size)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        is_enough = False
    else:
        is_enough = True
    # Here, not above: while an error is handled, its frames hold the tensors of what failed.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return is_enough


@dataclass(frozen=True, slots=True)
class Room:
    """What is needed to find out which batch a device has memory for."""

    dataset: DatasetSpec
    generator: Generator
    segmenter: AnySegmenter
    device: torch.device

    def call(self, compute: Callable[[], Result]) -> Result:
        """Compute a batch of the dataset's size.

        Raises:
            JobError: If there is too little memory for it; it names the size that fits.
        """
        try:
            return compute()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Not above: while an error is handled, its frames hold the tensors of the batch.
        raise _too_large_batch(self.dataset, self.generator, self.segmenter, self.device)


def _too_large_batch(
    dataset: DatasetSpec, generator: Generator, segmenter: AnySegmenter, device: torch.device
) -> JobError:
    """The error for a batch that found no memory; measures which size does."""
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)

    def attempt(size: int) -> None:
        latents = sampler.draw(range(size))
        with torch.inference_mode():
            generate_and_segment(generator, segmenter, latents)

    size = dataset.batch_size
    fits = largest_that_fits(attempt, size)
    found = f"found {size}, for which {device_name(device)} has too little memory"
    if fits == 0:
        return JobError(
            where="dataset.batch_size",
            found=f"{found}, and for 1 as well",
            remedy="use a larger GPU, a smaller generator, or run.gpus_per_actor: 0",
        )
    return JobError(
        where="dataset.batch_size",
        found=found,
        allowed=f"{fits} fits, as measured just now",
        remedy=f"set it to {fits}, which is another dataset; workers that share a GPU need less each",
    )
