"""Find what is wrong with the files of a dataset; `verify` reports it and `repair` acts on it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import accumulate

from factory.care.shard_lists import WRITTEN_ANEW, find_list_problem
from factory.data import ShardTask
from factory.dataset.near_train import find_near_problem
from factory.dataset.receipts import find_record, is_planned
from factory.dataset.state import DatasetState, find_plan
from factory.dataset.views import holds_manifest, make_manifest
from factory.dataset.walk import find_change
from factory.errors import DamageError, Problem
from factory.make.commit import count_classes
from factory.manifest.makers import UNKNOWN
from factory.manifest.paths import MANIFEST_PATH, receipt_path, sidecar_of, sidecar_path
from factory.manifest.records import Manifest, ShardRecord
from factory.manifest.table import read_manifest
from factory.pack.contents import Contents, Expected, read_contents
from factory.pack.facts import SampleFacts, read_sidecar
from factory.plan.rounds import Plan
from factory.store import Store


@dataclass(frozen=True, slots=True)
class ExaminedShard:
    """A committed shard, read whole."""

    problems: tuple[Problem, ...]
    """What is wrong, in the order in which it has to be put right."""
    contents: Contents | None = None
    """Its content; None if its bytes are not those of its receipt."""


def examine_shard(
    store: Store, record: ShardRecord, task: ShardTask, expected: Expected | None
) -> ExaminedShard:
    """Compare a shard with its receipt; with `expected`, also its content with receipt and table.

    The content is checked only if the bytes are right, and the table only if the content is.
    """
    with store.fetch(record.path) as path:
        changed = find_change(record, path)
        if changed is not None or path is None or expected is None:
            return ExaminedShard((changed,) if changed is not None else ())
        contents = read_contents(path, task, expected)
    problems = tuple(contents.problems) or tuple(_compare(store, record, task, contents))
    return ExaminedShard(problems, contents)


def orphan_problem(path: str) -> Problem:
    """The problem of a tar without a receipt: no part of the dataset, but a brace range may read it.

    No shard of the plan may have its name: it may be one of a plan that is about to grow.
    """
    remedy = "run the job again to commit it, or `factory gc` removes it"
    return Problem(path, "no_receipt", "no receipt names it", remedy)


def missing_tables(records: Collection[ShardRecord], names: Collection[str]) -> Iterator[Problem]:
    """A problem for each shard whose table is not among the `names` of all tables."""
    for record in records:
        name = sidecar_of(record.path)
        if name not in names:
            yield _table_problem(name, "missing")


_MOST_DECODED = 100_000
"""Receipts of a dataset whose manifest is looked at: one of more may be larger than what is read of any
table, and the end of each run writes it again."""


def find_view_problem(store: Store, state: DatasetState, *, deep: bool = True) -> Problem | None:
    """Hold manifest and lists of shards against the receipts of `state`; `deep`, near samples too.

    None if all may stay, or are not there. A manifest that lists fewer shards than have receipts may
    stay: it is of before a run, and the end of each run writes it again.

    Raises:
        StoreError: If the label table is missing or damaged.
    """
    manifest = make_manifest(store, state)
    found = _find_wrong_manifest(store, state, manifest)
    if found:
        return Problem(MANIFEST_PATH, "manifest", found, WRITTEN_ANEW)
    if len(state.records) <= _MOST_DECODED and (wrong := find_list_problem(store, state, manifest)):
        return wrong
    return find_near_problem(store, manifest) if deep else None


def _find_wrong_manifest(store: Store, state: DatasetState, manifest: Manifest) -> str:
    """What is wrong with the manifest in `store`; empty if it may stay, or there is none."""
    if len(state.records) > _MOST_DECODED or holds_manifest(store, manifest):
        return ""
    try:
        data = store.read(MANIFEST_PATH)
        held = None if data is None else read_manifest(data, source=MANIFEST_PATH)
    except DamageError:
        return "not a manifest"
    if held is None:
        return ""
    # A run may have extended the plan since `state`, and written this manifest.
    plan = find_plan(store, state.plan.rounds)
    if not _could_be_written(held, manifest, plan):
        return "differs from plan, labels or receipts"
    lost = _find_unreceipted(store, held, state, plan)
    return "" if lost is None else f"lists {lost.path}, which has no receipt"


def _find_unreceipted(
    store: Store, held: Manifest, state: DatasetState, plan: Plan
) -> ShardRecord | None:
    """The first shard that `held` lists and that has no receipt, not even one of after `state`."""
    done = state.done
    for row in held.records:
        task = plan.task(row.round_index, row.shard_index)
        if row.shard_index not in done and task and find_record(store, task) is None:
            return row
    return None


def _could_be_written(held: Manifest, manifest: Manifest, plan: Plan) -> bool:
    """Whether a run on the way to `manifest` could have written `held`."""
    if any(
        getattr(held, name) != getattr(manifest, name)
        for name in ("name", "dataset_id", "identity", "meaning")
    ):
        return False
    if held.num_planned not in accumulate(round_.num_samples for round_ in plan.rounds):
        return False
    listed = [row.shard_index for row in held.records]
    if listed != sorted(set(listed)) or not all(is_planned(row, plan) for row in held.records):
        return False
    rows = {row.shard_index: row for row in held.records}
    # What `repair` adopts gets a receipt of its own, and the end of the next run lists it.
    return all(
        receipt.device == UNKNOWN or rows.get(receipt.shard_index, receipt) == receipt
        for receipt in manifest.records
    )


def _compare(
    store: Store, record: ShardRecord, task: ShardTask, contents: Contents
) -> Iterator[Problem]:
    if contents.num_members != record.num_members:
        found = f"{contents.num_members} files inside, its receipt says {record.num_members}"
        yield Problem(record.path, "contents", found)
    elif len(contents.rows) != record.num_samples:
        found = f"{len(contents.rows)} samples inside, its receipt says {record.num_samples}"
        yield Problem(record.path, "contents", found)
    elif contents.repeated:
        key = contents.repeated[0]
        yield Problem(record.path, "contents", "one of its files is there twice", sample=key)
    else:
        yield from _compare_counts(record, task, contents.rows)
        yield from _check_table(store, record, task, contents.rows)


def _compare_counts(
    record: ShardRecord, task: ShardTask, rows: list[SampleFacts]
) -> Iterator[Problem]:
    stated = {name: getattr(record, name) for name in record.model_fields_set}
    counted = count_classes(rows)
    wrong = [name for name, value in counted.items() if stated.get(name, value) != value]
    if wrong:
        path = receipt_path(task.round_index, task.shard_index)
        found = f"its {', '.join(wrong)} are not those of the samples in {record.path}"
        yield Problem(path, "receipt", found, WRITTEN_ANEW)


def _check_table(
    store: Store, record: ShardRecord, task: ShardTask, rows: list[SampleFacts]
) -> Iterator[Problem]:
    path = sidecar_path(task.name, task.split)
    data = store.read(path)
    try:
        held = [] if data is None else read_sidecar(data, most_rows=len(rows))
        is_good = data is not None and [facts for facts, _ in held] == rows
    except ValueError:
        is_good = False
    if not is_good:
        found = f"not the table of the samples in {record.path}"
        yield _table_problem(path, "missing" if data is None else found)


def _table_problem(path: str, found: str) -> Problem:
    return Problem(path, "table", found, "`factory repair` rebuilds it")
