"""Read a dataset back and hold every byte against its receipts.

Most damage to a tar is silent: five of six kinds pass every reader without a word. A shard is good
only if size, SHA-256 and member count are those of its receipt and every sample decodes.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from factory.data import IGNORE, ShardTask
from factory.dataset import Holdings, find_holdings, find_labels
from factory.identity import digest_of_file, sample_key
from factory.manifest import ShardRecord
from factory.pack.facts import SampleFacts
from factory.pack.image import decode_image, decode_mask
from factory.pack.packing import file_endings
from factory.pack.tar import read_members
from factory.spec import EncodeSpec
from factory.store import Store

_THREADS = 4
_ROUNDING = 0.5 / 255 + 1e-5


@dataclass(frozen=True, slots=True)
class Findings:
    """What `verify` read, and what is wrong with it."""

    num_shards: int
    num_samples: int
    problems: tuple[str, ...]
    """One line each: shard, what was found, what was expected."""


def verify_dataset(store: Store) -> Findings:
    """Check every committed shard of the dataset in `store`.

    Raises:
        StoreError: If there is no dataset, or a receipt belongs to another one.
    """
    holdings = find_holdings(store)
    promise = _find_promise(store, holdings)
    tasks = {task.shard_index: task for task in holdings.plan.tasks()}

    def check(record: ShardRecord) -> list[str]:
        task = tasks.get(record.shard_index)
        if task is None:
            return [f"{record.path}: its receipt names a shard that no round plans"]
        return [f"{record.path}: {problem}" for problem in _check(store, record, task, promise)]

    with ThreadPoolExecutor(_THREADS) as pool:
        problems = [line for lines in pool.map(check, holdings.records) for line in lines]
    problems += _check_strangers(store, holdings)
    count = sum(record.num_samples for record in holdings.records)
    return Findings(len(holdings.records), count, tuple(problems))


@dataclass(frozen=True, slots=True)
class _Promise:
    """What holds for every sample of the dataset."""

    num_classes: int
    endings: list[str]


def _find_promise(store: Store, holdings: Holdings) -> _Promise:
    num_classes = len(find_labels(store).labels) if holdings.records else 0
    encode = EncodeSpec.model_validate(holdings.plan.rounds[0].identity["encode"])
    return _Promise(num_classes, file_endings(encode))


def _check_strangers(store: Store, holdings: Holdings) -> list[str]:
    """Tars without a receipt are not part of the dataset, but brace ranges would read them."""
    known = {record.path for record in holdings.records}
    return [
        f"{name}: no receipt names it; run the job again to commit it, or delete it"
        for name in store.names("data")
        if name not in known
    ]


def _check(store: Store, record: ShardRecord, task: ShardTask, promise: _Promise) -> Iterator[str]:
    with store.fetch(record.path) as path:
        if path is None:
            yield "missing"
            return
        size_bytes = path.stat().st_size
        if size_bytes != record.size_bytes:
            yield f"{size_bytes} bytes, its receipt says {record.size_bytes}"
            return
        if (digest := digest_of_file(path)) != record.sha256:
            yield f"sha256 {digest[:16]}, its receipt says {record.sha256[:16]}"
            return
        yield from _check_members(path, record, task, promise)


def _check_members(
    path: Path, record: ShardRecord, task: ShardTask, promise: _Promise
) -> Iterator[str]:
    try:
        members = list(read_members(path))
    except ValueError as error:
        yield str(error)
        return
    if len(members) != record.num_members:
        yield f"{len(members)} files inside, its receipt says {record.num_members}"
    num_samples = 0
    previous = ""
    for key, group in groupby(members, key=lambda member: member[0].partition(".")[0]):
        if key <= previous:
            yield f"sample {key}: after {previous}; keys ascend"
        previous = key
        num_samples += 1
        yield from (f"sample {key}: {p}" for p in _check_sample(key, dict(group), task, promise))
    if num_samples != record.num_samples:
        yield f"{num_samples} samples inside, its receipt says {record.num_samples}"


def _check_sample(
    key: str, files: dict[str, bytes], task: ShardTask, promise: _Promise
) -> Iterator[str]:
    endings = [name.partition(".")[2] for name in files]
    if endings != promise.endings:
        yield f"holds {', '.join(endings)}; expected {', '.join(promise.endings)}, in this order"
        return
    image_data, mask_data, *confidence_data, facts_data = files.values()
    try:
        facts = SampleFacts.model_validate_json(facts_data)
        image, mask = decode_image(image_data), decode_mask(mask_data)
        confidence = [decode_mask(data) for data in confidence_data]
    except ValidationError as error:
        yield f"its facts have {error.error_count()} problems"
        return
    except ValueError as error:
        yield str(error)
        return
    yield from _check_facts(key, facts, task)
    yield from _check_mask(image, mask, facts, promise.num_classes)
    for by_px in confidence:
        yield from _check_confidence(by_px, mask, facts)


def _check_facts(key: str, facts: SampleFacts, task: ShardTask) -> Iterator[str]:
    if facts.dataset_id != task.dataset_id:
        yield f"of dataset {facts.dataset_id}, this is {task.dataset_id}"
    if key != facts.key or key != sample_key(facts.index):
        yield f"its facts name it {facts.key} with index {facts.index}"
    if not 0 <= facts.index - task.first_index < task.num_indices:
        yield f"index {facts.index} lies outside its shard's range"


def _check_mask(
    image: np.ndarray, mask: np.ndarray, facts: SampleFacts, num_classes: int
) -> Iterator[str]:
    if image.shape[:2] != mask.shape:
        yield f"image {image.shape[:2]} and mask {mask.shape} differ in size"
    counts = np.bincount(mask.ravel(), minlength=256)
    if counts[num_classes:IGNORE].any():
        largest = int(np.flatnonzero(counts[:IGNORE])[-1])
        yield f"mask holds label {largest}; allowed: 0 to {num_classes - 1}, and 255"
    elif counts[:num_classes].tolist() != facts.class_px:
        yield "its facts count other pixels per class than its mask holds"


def _check_confidence(by_px: np.ndarray, mask: np.ndarray, facts: SampleFacts) -> Iterator[str]:
    if by_px.shape != mask.shape:
        yield f"confidence {by_px.shape} and mask {mask.shape} differ in size"
        return
    claimed = by_px[mask != IGNORE]
    mean = float(claimed.mean()) / 255 if claimed.size else 0.0
    if abs(mean - facts.confidence) > _ROUNDING:
        yield f"its facts say confidence {facts.confidence}, its pixels {mean:.6f}"
