"""A dataset as tensors for PyTorch's DataLoader. The only module of this package that imports torch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8, UInt16
from torch import Tensor, distributed
from torch.utils.data import IterableDataset, get_worker_info

from factory.arguments import check_arguments
from factory.dataset.division import check_number, order_shards, share
from factory.dataset.samples import ReadSample
from factory.errors import JobError
from factory.manifest.records import Manifest

Pair = dict[str, Any]
"""`key` str; `image` uint8 [3, h, w]; `mask` int64 [h, w]; `class_label` int, the generator's class;
`confidence` uint8 [h, w], `instances` int32 [h, w], `alpha` uint8 [h, w], `edited` uint8 [3, h, w] and
`edited_mask` int64 [h, w] if the dataset has them."""


@runtime_checkable
class SampleRow(Protocol):
    """The protocol of what a `PairDataset` reads: a `reader.Dataset`."""

    manifest: Manifest
    """The manifest, with one record per shard."""

    def __len__(self) -> int:
        """Number of samples."""

    def read(
        self,
        first: int,
        end: int,
        order: Sequence[int],
        *,
        seed: int | None,
        epoch: int = 0,
        skip: int = 0,
    ) -> Iterator[ReadSample]:
        """Iterate over a range of an epoch; see `Dataset.read`."""


class Part:
    """The share of this process: its rank among `world_size`, and its number among loader workers.

    Both are looked up at read time, because `torch.distributed` may be initialised, and workers
    started, after the dataset was created.
    """

    def __init__(self, rank: int | None, world_size: int | None) -> None:
        """Set rank and world size; None and None = those of `torch.distributed`, if initialised.

        Raises:
            JobError: If only one is given, or `rank` is not 0 to `world_size` - 1.
        """
        if (rank is None) != (world_size is None):
            raise JobError(
                where="rank and world_size", found="found one of them", remedy="give both or none"
            )
        self._given = None if rank is None or world_size is None else (rank, world_size)
        if self._given and not 0 <= self._given[0] < self._given[1]:
            raise JobError(
                where="rank",
                found=f"found {rank}",
                allowed=f"0 to world_size - 1 ({world_size} - 1)",
            )

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the current rank: spawned loader workers do not have `torch.distributed`."""
        return {"_given": self.rank()}

    def rank(self) -> tuple[int, int]:
        """(rank, world size) of this process."""
        if self._given is not None:
            return self._given
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def worker(self) -> tuple[int, int]:
        """(number, count) of this process among the loader workers of its rank."""
        info = get_worker_info()
        return (info.id, info.num_workers) if info else (0, 1)


class PairDataset(IterableDataset[Any]):
    """Image/mask pairs, each once over all ranks and loader workers.

    Yields a `Pair`; mask value 255 means ignore (`CrossEntropyLoss(ignore_index=255)`). Every worker
    reads one contiguous range of the epoch; their lengths differ by at most one sample. There may be
    more workers than shards; then several read the same shard.
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
            dataset: The samples.
            shuffle: Shards in random order, and samples shuffled within groups of up to 8 shards;
                another order in each epoch (see `set_epoch`).
            seed: Seed of that order; must be equal on all ranks.
            rank: Rank of this process. None with `world_size` None = those of `torch.distributed` if it
                is initialised, else a single process.
            world_size: Number of processes that share the samples.
            equal: Give every worker of every rank the same number of samples, and leave out the rest:
                distributed training hangs if one rank has a batch more than another.
            transform: Called on each pair, in the worker; its result is yielded instead.

        Raises:
            JobError: If only one of `rank` and `world_size` is given, `rank` is out of range, or no
                order has that seed.
        """
        check_number("seed", seed)
        self.dataset = dataset
        self._shuffle, self._seed, self._equal = shuffle, seed, equal
        self._part = Part(rank, world_size)
        self._transform = transform
        # Shared memory: workers that the loader keeps between epochs see a new one too.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call] # torch's own
        # Where to go on in mid-epoch: the epoch, batches that were made, and their size.
        self._resumed = torch.tensor([-1, 0, 0], dtype=torch.int64)
        self._resumed.share_memory_()  # type: ignore[no-untyped-call] # torch's own
        self._done = 0

    @check_arguments
    def set_epoch(self, epoch: int) -> None:
        """Select the shuffle order of an epoch; call it on all ranks before each epoch.

        Raises:
            JobError: If it is none of 0 to 2^63 - 1.
        """
        check_number("epoch", epoch)
        self._epoch.fill_(epoch)

    @check_arguments
    def resume_after(self, epoch: int, num_batches: int, batch_size: int) -> None:
        """Begin `epoch` behind the batches that a DataLoader has made of it, on this rank.

        Call it before the loader is iterated over, with the same number of workers: each takes its turn
        with a batch, so that the number of batches says how far every worker is. The batches that are
        left come in their order, and other epochs are whole. A loader with `drop_last` needs `equal`:
        otherwise workers near the end of an epoch drop different numbers of batches.

        Raises:
            JobError: If a number is negative, or no batch is that large.
        """
        check_number("epoch", epoch)
        check_number("num_batches", num_batches)
        if batch_size < 1:
            raise JobError(where="batch_size", found=f"found {batch_size}", allowed="at least 1")
        check_number("batch_size", batch_size)
        self._epoch.fill_(epoch)
        self._resumed.copy_(torch.tensor([epoch, num_batches, batch_size]))

    def state_dict(self) -> dict[str, int]:
        """Epoch and number of pairs that this process has yielded of it.

        For loaders that ask each worker, such as torchdata's `StatefulDataLoader`. With a plain
        DataLoader, which reads ahead in its workers, count the batches and use `resume_after`; in the
        epoch that this began, the numbers of several workers are no state.
        """
        return {"epoch": int(self._epoch), "pairs": self._done}

    @check_arguments
    def load_state_dict(self, state: dict[Any, Any]) -> None:
        """Go on behind the pairs of a `state_dict` of the same worker.

        Raises:
            JobError: If it is no state.
        """
        if set(state) != {"epoch", "pairs"}:
            raise JobError(where="state", found="no state of a PairDataset")
        _, count = self._part.worker()
        # As so many batches of one pair, of which every worker has its share.
        self.resume_after(state["epoch"], state["pairs"] * count, 1)

    def _place(self, sizes: Sequence[int]) -> tuple[int, int]:
        """The range that this worker reads, and its pairs that were made before.

        `sizes` has the pairs of every range: as many as there are workers.
        """
        number, count = self._part.worker()
        epoch, num_batches, size = (int(number) for number in self._resumed)
        if epoch != int(self._epoch):
            return number, 0
        each = [-(-pairs // size) for pairs in sizes]
        rounds, rest = divmod(num_batches, count)
        if rounds < min(each):
            # A loader begins with its first worker, which therefore reads the range whose turn it is.
            number = (number + rest) % count
            turns = rounds + (number < rest)
        else:
            # The loader passes over workers that have no more; the others have one more batch at most.
            longer = [worker for worker in range(count) if each[worker] > min(each)]
            turns = min(each) + (number in longer[: num_batches - min(each) * count])
        return number, min(sizes[number], turns * size)

    def __len__(self) -> int:
        """Number of samples of this rank, over all its workers."""
        first, end = share(len(self.dataset), *self._part.rank(), equal=self._equal)
        return end - first

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the pairs of this worker."""
        first, end = share(len(self.dataset), *self._part.rank(), equal=self._equal)
        _, count = self._part.worker()
        spans = [share(end - first, one, count, equal=self._equal) for one in range(count)]
        number, self._done = self._place([last - start for start, last in spans])
        mine = spans[number]
        epoch = int(self._epoch)
        shards = len(self.dataset.manifest.records)
        order = (
            order_shards(shards, seed=self._seed, epoch=epoch) if self._shuffle else range(shards)
        )
        seed = self._seed if self._shuffle else None
        span = (first + mine[0], first + mine[1])
        samples = self.dataset.read(*span, order, seed=seed, epoch=epoch, skip=self._done)
        for sample in samples:
            self._done += 1
            pair = make_pair(
                sample.key,
                sample.image,
                sample.mask,
                sample.facts.class_label,
                sample.confidence,
                sample.instances,
                sample.alpha,
            )
            if sample.edited is not None and sample.edited_mask is not None:
                pair |= make_edited(sample.edited, sample.edited_mask)
            yield self._transform(pair) if self._transform else pair


def make_pair(
    key: str,
    image: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"],
    class_label: int,
    confidence: UInt8[np.ndarray, "h w"] | None = None,
    instances: UInt16[np.ndarray, "h w"] | None = None,
    alpha: UInt8[np.ndarray, "h w"] | None = None,
) -> Pair:
    """Convert one sample to tensors with memory of their own, which may be modified."""
    pair: Pair = {
        "key": key,
        "image": _channels_first(image),
        "mask": _integers(mask, np.int64),
        "class_label": class_label,
    }
    if confidence is not None:
        pair["confidence"] = _integers(confidence, np.uint8)
    if instances is not None:
        pair["instances"] = _integers(instances, np.int32)
    if alpha is not None:
        pair["alpha"] = _integers(alpha, np.uint8)
    return pair


def make_edited(image: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]) -> Pair:
    """What a pair has beside itself in a dataset with edits."""
    return {"edited": _channels_first(image), "edited_mask": _integers(mask, np.int64)}


def _channels_first(image: UInt8[np.ndarray, "h w 3"]) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def _integers(pixels: np.ndarray, kind: type[np.integer[Any]]) -> Tensor:
    return torch.from_numpy(pixels.astype(kind))
