"""Batches of a dataset's pairs, as a function of the step: a resumed training goes on in mid-epoch."""

from collections.abc import Iterator, Sequence
from logging import WARNING

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.dataset.division import order_shards, share
from factory.dataset.incomplete import tell_incomplete
from factory.dataset.reader import Dataset
from factory.dataset.samples import ReadSample
from factory.dataset.selection import select
from factory.dataset.views import make_manifest
from factory.downstream.ranks import ALONE, Ranks
from factory.errors import JobError
from factory.identity import counter_rng
from factory.log import log_event
from factory.store import Store

Batch = tuple[Float[Tensor, "n 3 h w"], Int64[Tensor, "n h w"]]
"""Images of 0 to 255, and class ids; 255 = ignore."""


def open_pairs(store: Store) -> tuple[Dataset, Dataset | None]:
    """The samples to train on, and those of the split `val` if the dataset has some there.

    A split whose samples all nearly repeat training samples tells nothing: a line of the log says so, as
    of a dataset whose run has not made all of it.

    Raises:
        StoreError: If there is no dataset.
        DamageError: If it is damaged.
    """
    manifest = make_manifest(store)
    pairs = Dataset(store, select(store, manifest, "train", near_train=False))
    tell_incomplete(store, manifest)
    val = pairs.of_split("val") if "val" in manifest.splits else None
    if val is not None and not len(val):
        log_event(
            "val_left_out",
            level=WARNING,
            why="all its samples nearly repeat training samples",
            remedy="make more samples; until then it is trained without val",
        )
        val = None
    return pairs, val


def training_batches(
    dataset: Dataset, batch_size: int, *, seed: int, first_step: int, ranks: Ranks = ALONE
) -> Iterator[Batch]:
    """Iterate over batches without end, from that of `first_step` on; the shuffle differs by epoch.

    The last pairs of an epoch that fill no batch are left out. Of the others, each rank reads a range of
    its own, and has its share of every batch.

    Raises:
        JobError: If the dataset has fewer pairs than a batch, the batch cannot be divided by the ranks,
            or pictures have several sizes.
        DamageError: If a shard is missing or damaged.
    """
    per_epoch = len(dataset) // batch_size
    if not per_epoch:
        raise JobError(
            where="batch_size",
            found=f"found {batch_size}",
            allowed=f"at most the {len(dataset):,} pairs of {dataset.uri}",
        )
    if batch_size % ranks.count:
        allowed = f"a multiple of the {ranks.count} processes"
        raise JobError(where="batch_size", found=f"found {batch_size}", allowed=allowed)
    each = batch_size // ranks.count
    first, end = share(per_epoch * batch_size, ranks.rank, ranks.count, equal=True)
    epoch, done = divmod(first_step, per_epoch)
    while True:
        order = order_shards(len(dataset.manifest.records), seed=seed, epoch=epoch)
        samples = dataset.read(first, end, order, seed=seed, epoch=epoch, skip=done * each)
        yield from _batches(samples, each)
        epoch, done = epoch + 1, 0


def scored_batches(dataset: Dataset, batch_size: int) -> Iterator[Batch]:
    """Iterate over all pairs once, in order."""
    return _batches(dataset.samples(), batch_size)


def _batches(samples: Iterator[ReadSample], size: int) -> Iterator[Batch]:
    held: list[ReadSample] = []
    for sample in samples:
        held.append(sample)
        if len(held) == size:
            yield stack_pairs(held)
            held = []
    if held:
        yield stack_pairs(held)


def stack_pairs(samples: Sequence[ReadSample]) -> Batch:
    """Stack samples to a batch.

    Raises:
        JobError: If their sizes differ.
    """
    sizes = {sample.mask.shape for sample in samples}
    if len(sizes) > 1:
        raise JobError(where="dataset", found=f"pictures of {len(sizes)} sizes", allowed="one size")
    images = torch.stack(
        [torch.from_numpy(s.image.transpose(2, 0, 1).astype("float32")) for s in samples]
    )
    return images, torch.stack([torch.from_numpy(s.mask.astype("int64")) for s in samples])


def step_rng(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """Random numbers of one step of a rank: a function of these numbers alone."""
    key = int(counter_rng("training", seed, step, rank).integers(2**62))
    return torch.Generator().manual_seed(key)


def colour_figures(dataset: Dataset, most: int = 256) -> tuple[list[float], list[float]]:
    """Mean and deviation of each colour channel, 0 to 1, over the first images."""
    total, squares, count = torch.zeros(3), torch.zeros(3), 0
    for position in range(min(most, len(dataset))):
        image = torch.from_numpy(dataset[position].image.astype("float32")) / 255
        total += image.mean(dim=(0, 1))
        squares += image.square().mean(dim=(0, 1))
        count += 1
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=1e-4).sqrt()
    return [round(v, 6) for v in mean.tolist()], [round(v, 6) for v in deviation.tolist()]
