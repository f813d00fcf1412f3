"""Count the pixels of a dataset's masks against a reference: shards in order, decoded by threads."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, islice

from factory.dataset.holdings import find_holdings
from factory.errors import DamageError, JobError, StoreError
from factory.evaluate.contingency import Contingency, PairCounts, count_pair, gather
from factory.evaluate.reference import Reference, ScoredSample
from factory.manifest.records import ShardRecord
from factory.pack.image import IMAGE_ENDING, decode_image, decode_mask
from factory.pack.tar import read_members
from factory.store import Store

_PER_CALL = 32
_MASK = ".mask.png"

_Files = tuple[str, dict[str, bytes]]
"""A sample's key, and its files by name."""


def read_counts(store: Store, reference: Reference, limit: int | None) -> Contingency:
    """Count the masks in `store` against `reference`, for the first `limit` samples if given.

    Samples without a reference are skipped. One pass: each shard is fetched once, and only counts are
    kept in memory.

    Raises:
        StoreError: If there is no dataset, nothing is committed, or a shard is missing.
        DamageError: If a shard or a mask is damaged.
        JobError: If the reference has none of the samples.
    """
    records = find_holdings(store).records
    if not records:
        raise StoreError(f"{store.uri}: no shard is committed yet; run the job first")
    samples = islice(_read_shards(store, records, needs_images=reference.needs_images), limit)
    pairs: list[PairCounts] = []
    num_threads = os.cpu_count() or 1
    with ThreadPoolExecutor(num_threads) as pool:
        waiting: deque[Future[list[PairCounts]]] = deque()
        for batch in _batches(samples):
            waiting.append(pool.submit(_count, store, reference, batch))
            if len(waiting) > 2 * num_threads:
                pairs += waiting.popleft().result()
        for future in waiting:
            pairs += future.result()
    if not any(len(pair.codes) for pair in pairs):
        raise JobError(
            f"--reference: {reference.name} has a mask with a pixel to score for none of the samples "
            f"of {store.uri}; the name of a mask is the sample's key, such as 000000000.mask.png"
        )
    return gather(pairs)


def _count(store: Store, reference: Reference, batch: list[_Files]) -> list[PairCounts]:
    try:
        samples = [_decode(key, files) for key, files in batch]
    except ValueError as error:
        raise DamageError(f"{store.uri}: {error}; run `factory verify {store.uri}`") from error
    found = zip(samples, reference.masks(samples), strict=True)
    return [count_pair(s.key, truth, s.mask) for s, truth in found if truth is not None]


def _decode(key: str, files: dict[str, bytes]) -> ScoredSample:
    mask = files.pop(key + _MASK, None)
    if mask is None:
        raise ValueError(f"sample {key} has no mask")
    image = next((decode_image(data) for data in files.values()), None)
    return ScoredSample(key, decode_mask(mask), image)


def _read_shards(
    store: Store, records: Iterable[ShardRecord], *, needs_images: bool
) -> Iterator[_Files]:
    endings: tuple[str, ...] = (_MASK,)
    if needs_images:
        endings += tuple(f".image.{ending}" for ending in IMAGE_ENDING.values())
    for record in records:
        with store.fetch(record.path) as path:
            if path is None:
                raise StoreError(
                    f"{store.uri}/{record.path}: missing, though its receipt is there; restore it, "
                    "or delete the receipt and run the job again"
                )
            try:
                members = read_members(path, endings)
                for key, group in groupby(members, key=lambda member: member[0].partition(".")[0]):
                    yield key, dict(group)
            except ValueError as error:
                raise DamageError(
                    f"{store.uri}/{record.path}: {error}; run `factory verify {store.uri}`"
                ) from error


def _batches(samples: Iterator[_Files]) -> Iterator[list[_Files]]:
    while batch := list(islice(samples, _PER_CALL)):
        yield batch
