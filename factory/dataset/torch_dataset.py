"""A dataset as tensors for PyTorch's DataLoader. The one module of this room that knows torch."""

from collections.abc import Iterator

import torch
from torch import Tensor, distributed
from torch.utils.data import IterableDataset, get_worker_info

from factory.dataset.reader import Dataset
from factory.errors import JobError

Pair = dict[str, Tensor | str]


class PairDataset(IterableDataset[Pair]):
    """Image/mask pairs, each once over all ranks and loader workers.

    Yields `{"key": str, "image": uint8 [3, h, w], "mask": int64 [h, w]}`; 255 in a mask is to be
    ignored (`CrossEntropyLoss(ignore_index=255)`). Every worker takes one stretch of the epoch's
    order, so stretches differ by at most one sample, and more workers than shards are fine.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        """Of the samples of `dataset`.

        Args:
            dataset: What to read.
            shuffle: Visit shards in random order, and samples at random within each; another order
                in each epoch (see `set_epoch`).
            seed: Of that order; the same on all ranks.
            rank: This process among `world_size`. Both are left out together: then they are those
                of `torch.distributed` if it is initialised, else the process is alone.
            world_size: How many processes share the samples.

        Raises:
            JobError: If `rank` is none of 0 to `world_size` - 1.
        """
        rank, world_size = _place(rank, world_size)
        if not 0 <= rank < world_size:
            raise JobError(f"rank: found {rank}; allowed: 0 to {world_size - 1} (world_size - 1)")
        self.dataset = dataset
        self._shuffle, self._seed, self._epoch = shuffle, seed, 0
        self._rank, self._world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of epoch number `epoch`; call it on all ranks before each epoch.

        Workers that a DataLoader keeps (`persistent_workers=True`) do not notice.
        """
        self._epoch = epoch

    def __len__(self) -> int:
        """Samples of this rank, over all its workers."""
        first, end = self._stretch(0, 1)
        return end - first

    def __iter__(self) -> Iterator[Pair]:
        """The pairs of this worker."""
        info = get_worker_info()
        first, end = self._stretch(*((info.id, info.num_workers) if info else (0, 1)))
        whole = range(len(self.dataset))
        order = self.dataset.order(self._seed + self._epoch) if self._shuffle else whole
        for sample in self.dataset.read(order[first:end]):
            # Copies: decoded pixels are read-only views of a picture's memory.
            image = torch.from_numpy(sample.image.transpose(2, 0, 1).copy())
            yield {"key": sample.key, "image": image, "mask": torch.tensor(sample.mask).long()}

    def _stretch(self, worker: int, num_workers: int) -> tuple[int, int]:
        """The worker's part of the epoch's order: its rank's part is divided again."""
        count = len(self.dataset)
        first = self._rank * count // self._world_size
        held = (self._rank + 1) * count // self._world_size - first
        return first + worker * held // num_workers, first + (worker + 1) * held // num_workers


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None and world_size is None:
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1
    if rank is None or world_size is None:
        raise JobError("rank and world_size: found one of them; give both or none")
    return rank, world_size
