"""Count the pixels of a dataset's masks against a reference: shards in order, decoded by threads."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from factory.dataset.state import find_state
from factory.dataset.walk import (
    IMAGE_FILES,
    MASK_FILE,
    StoredSample,
    explain_damage,
    walk_shard,
)
from factory.errors import JobError, StoreError
from factory.evaluate.contingency import Contingency, PairCounts, count_pair, gather
from factory.evaluate.reference import Reference, ScoredSample
from factory.manifest.records import ShardRecord
from factory.pack.image import decode_image, decode_mask
from factory.store import Store

_PER_CALL = 32

_Stored = tuple[ShardRecord, StoredSample]


def read_counts(store: Store, reference: Reference, limit: int | None) -> Contingency:
    """Count the masks in `store` against `reference`, for the first `limit` samples if given.

    Samples without a reference are skipped. One pass: each shard is fetched once, and only counts are
    kept in memory.

    Raises:
        StoreError: If there is no dataset, or nothing is committed.
        DamageError: If a shard or a mask is missing or damaged.
        JobError: If the reference has none of the samples.
    """
    records = find_state(store).records
    if not records:
        raise StoreError(f"{store.uri}: no shard is committed yet; run the job first")
    endings = (*IMAGE_FILES, MASK_FILE) if reference.needs_images else (MASK_FILE,)
    stored = ((r, sample) for r in records for sample in walk_shard(store, r, endings))
    samples = islice(stored, limit)
    pairs: list[PairCounts] = []
    num_threads = os.cpu_count() or 1
    with ThreadPoolExecutor(num_threads) as threads:
        waiting: deque[Future[list[PairCounts]]] = deque()
        for batch in _batches(samples):
            waiting.append(threads.submit(_count, store, reference, batch))
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


def _count(store: Store, reference: Reference, batch: list[_Stored]) -> list[PairCounts]:
    samples = []
    for record, stored in batch:
        with explain_damage(store, record, stored.key):
            image = decode_image(stored.image) if reference.needs_images else None
            samples.append(ScoredSample(stored.key, decode_mask(stored.file(MASK_FILE)), image))
    found = zip(samples, reference.masks(samples), strict=True)
    return [count_pair(s.key, truth, s.mask) for s, truth in found if truth is not None]


def _batches(samples: Iterator[_Stored]) -> Iterator[list[_Stored]]:
    while batch := list(islice(samples, _PER_CALL)):
        yield batch
