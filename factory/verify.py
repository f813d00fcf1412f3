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
from factory.pack.facts import InstanceFacts, SampleFacts
from factory.pack.image import IMAGE_ENDING, decode_image, decode_instances, decode_mask
from factory.pack.tar import read_members
from factory.store import Store

_THREADS = 4
_ENDINGS = [
    [f"image.{ending}", "mask.png", *more, "json"]
    for more in ([], ["instances.png"])
    for ending in IMAGE_ENDING.values()
]


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
    num_classes = len(find_labels(store).labels) if holdings.records else 0
    tasks = {task.shard_index: task for task in holdings.plan.tasks()}

    def check(record: ShardRecord) -> list[str]:
        task = tasks.get(record.shard_index)
        if task is None:
            return [f"{record.path}: its receipt names a shard that no round plans"]
        return [f"{record.path}: {problem}" for problem in _check(store, record, task, num_classes)]

    with ThreadPoolExecutor(_THREADS) as pool:
        problems = [line for lines in pool.map(check, holdings.records) for line in lines]
    problems += _check_strangers(store, holdings)
    count = sum(record.num_samples for record in holdings.records)
    return Findings(len(holdings.records), count, tuple(problems))


def _check_strangers(store: Store, holdings: Holdings) -> list[str]:
    """Tars without a receipt are not part of the dataset, but brace ranges would read them."""
    known = {record.path for record in holdings.records}
    return [
        f"{name}: no receipt names it; run the job again to commit it, or delete it"
        for name in store.names("data")
        if name not in known
    ]


def _check(store: Store, record: ShardRecord, task: ShardTask, num_classes: int) -> Iterator[str]:
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
        yield from _check_members(path, record, task, num_classes)


def _check_members(
    path: Path, record: ShardRecord, task: ShardTask, num_classes: int
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
        yield from (
            f"sample {key}: {p}" for p in _check_sample(key, dict(group), task, num_classes)
        )
    if num_samples != record.num_samples:
        yield f"{num_samples} samples inside, its receipt says {record.num_samples}"


def _check_sample(
    key: str, files: dict[str, bytes], task: ShardTask, num_classes: int
) -> Iterator[str]:
    endings = [name.partition(".")[2] for name in files]
    if endings not in _ENDINGS:
        yield f"holds {', '.join(endings)}; expected {', '.join(_ENDINGS[0])}, in this order"
        return
    image_data, mask_data, *more, facts_data = files.values()
    try:
        facts = (InstanceFacts if more else SampleFacts).model_validate_json(facts_data)
        image, mask = decode_image(image_data), decode_mask(mask_data)
    except ValidationError as error:
        yield f"its facts have {error.error_count()} problems"
        return
    except ValueError as error:
        yield str(error)
        return
    yield from _check_facts(key, facts, task)
    yield from _check_mask(image, mask, facts, num_classes)
    if isinstance(facts, InstanceFacts):
        yield from _check_instances(more[0], mask, facts)


def _check_facts(key: str, facts: SampleFacts, task: ShardTask) -> Iterator[str]:
    if facts.dataset_id != task.dataset_id:
        yield f"of dataset {facts.dataset_id}, this is {task.dataset_id}"
    if key != facts.key or key != sample_key(facts.index):
        yield f"its facts name it {facts.key} with index {facts.index}"
    if not 0 <= facts.index - task.first_index < task.num_indices:
        yield f"index {facts.index} lies outside its shard's range"


def _check_instances(data: bytes, mask: np.ndarray, facts: InstanceFacts) -> Iterator[str]:
    try:
        ids = decode_instances(data)
    except ValueError as error:
        yield str(error)
        return
    if ids.shape != mask.shape:
        yield f"mask {mask.shape} and instances {ids.shape} differ in size"
    lists = (facts.instance_class, facts.instance_box_xyxy, facts.instance_score)
    if any(len(part) != len(facts.instance_px) for part in lists):
        yield "its facts list other numbers of instances"
    if np.bincount(ids.ravel())[1:].tolist() != facts.instance_px:
        yield "its facts count other pixels per instance than its instances hold"


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
