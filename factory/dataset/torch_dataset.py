"""A dataset as tensors for PyTorch's DataLoader. The one module of this room that knows torch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8, UInt16
from torch import Tensor, distributed
from torch.utils.data import IterableDataset, get_worker_info

from factory.dataset.division import order_shards, share
from factory.dataset.samples import ReadSample
from factory.errors import JobError
from factory.manifest.records import Manifest

Pair = dict[str, Any]
"""`key` str; `image` uint8 [3, h, w]; `mask` int64 [h, w]; `class_label` int, the generator's class;
`confidence` uint8 [h, w] and `instances` int32 [h, w] if the dataset has them."""


@runtime_checkable
class SampleRow(Protocol):
    """What is read: a `reader.Dataset`, which makes a `PairDataset` of itself."""

    manifest: Manifest
    """It has one record for each shard."""

    def __len__(self) -> int:
        """Samples in all."""

    def read(
        self, first: int, end: int, order: Sequence[int], *, seed: int | None, epoch: int = 0
    ) -> Iterator[ReadSample]:
        """Iterate over a stretch of an epoch; see `Dataset.read`."""


class Part:
    """Which part of the work this process has: one of `world_size` ranks, and a loader worker of it.

    The rank is asked for when something is read, in a process that may have been forked or sent
    elsewhere since: `torch.distributed` may be initialised after the dataset was made.
    """

    def __init__(self, rank: int | None, world_size: int | None) -> None:
        """Take a rank among `world_size`; None and None = that of `torch.distributed`, if initialised.

        Raises:
            JobError: If only one is given, or `rank` is none of 0 to `world_size` - 1.
        """
        if (rank is None) != (world_size is None):
            raise JobError("rank and world_size: found one of them; give both or none")
        self._given = None if rank is None or world_size is None else (rank, world_size)
        if self._given and not 0 <= self._given[0] < self._given[1]:
            raise JobError(
                where="rank",
                found=f"found {rank}",
                allowed=f"0 to world_size - 1 ({world_size} - 1)",
            )

    def __getstate__(self) -> dict[str, Any]:
        """A loader worker that is spawned knows nothing of `torch.distributed`."""
        return {"_given": self.rank()}

    def rank(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        if self._given is not None:
            return self._given
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def worker(self) -> tuple[int, int]:
        """This process's number among the loader workers of its rank, and how many there are."""
        info = get_worker_info()
        return (info.id, info.num_workers) if info else (0, 1)


class PairDataset(IterableDataset[Any]):
    """Image/mask pairs, each once over all ranks and loader workers.

    Yields a `Pair`; 255 in a mask is to be ignored (`CrossEntropyLoss(ignore_index=255)`). Every worker
    takes one stretch of the epoch's row of samples, so that stretches differ by at most one sample, and
    more workers than shards are fine, though each of them opens a shard of its own.
    """

    def __init__(
        self,
        dataset: SampleRow,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        equal: bool = False,
        transform: Callable[[Pair], Any] | None = None,
    ) -> None:
        """Read the samples of `dataset`.

        Args:
            dataset: What to read.
            shuffle: Shards in random order, and samples at random within groups of eight; another
                order in each epoch (see `set_epoch`).
            seed: Of that order; the same on all ranks.
            rank: This process among `world_size`. Both are left out together: then they are those
                of `torch.distributed` if it is initialised, else the process is alone.
            world_size: How many processes share the samples.
            equal: Give every worker of every rank the same number, and leave out the few samples that
                are too many: distributed training hangs when one rank has a batch more than another.
            transform: Is given each pair in the worker, and gives what is yielded instead.

        Raises:
            JobError: If `rank` is none of 0 to `world_size` - 1.
        """
        self.dataset = dataset
        self._shuffle, self._seed, self._equal = shuffle, seed, equal
        self._part = Part(rank, world_size)
        self._transform = transform
        # Shared memory: workers that the loader keeps between epochs see a new one too.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call] # torch's own

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of epoch number `epoch`; call it on all ranks before each epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Samples of this rank, over all its workers."""
        first, end = share(len(self.dataset), *self._part.rank(), equal=self._equal)
        return end - first

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the pairs of this worker."""
        first, end = share(len(self.dataset), *self._part.rank(), equal=self._equal)
        mine = share(end - first, *self._part.worker(), equal=self._equal)
        epoch = int(self._epoch)
        shards = len(self.dataset.manifest.records)
        order = (
            order_shards(shards, seed=self._seed, epoch=epoch) if self._shuffle else range(shards)
        )
        seed = self._seed if self._shuffle else None
        samples = self.dataset.read(first + mine[0], first + mine[1], order, seed=seed, epoch=epoch)
        for sample in samples:
            label = sample.facts.class_label
            pair = make_pair(
                sample.key, sample.image, sample.mask, label, sample.confidence, sample.instances
            )
            yield self._transform(pair) if self._transform else pair


def make_pair(
    key: str,
    image: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"],
    class_label: int,
    confidence: UInt8[np.ndarray, "h w"] | None = None,
    instances: UInt16[np.ndarray, "h w"] | None = None,
) -> Pair:
    """One sample as tensors of their own memory, which may be written to."""
    pair: Pair = {
        "key": key,
        "image": torch.from_numpy(image.transpose(2, 0, 1).copy()),
        "mask": _integers(mask, np.int64),
        "class_label": class_label,
    }
    if confidence is not None:
        pair["confidence"] = _integers(confidence, np.uint8)
    if instances is not None:
        pair["instances"] = _integers(instances, np.int32)
    return pair


def _integers(pixels: np.ndarray, kind: type[np.integer[Any]]) -> Tensor:
    return torch.from_numpy(pixels.astype(kind))
