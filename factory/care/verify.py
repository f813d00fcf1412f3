"""Verify a dataset against its receipts.

By default every receipt is read, the size and SHA-256 of every tar are compared with it, and the
manifest is with all of them. A deep check also decodes every sample, recomputes its counts, and
compares it with the sidecar table.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from factory.arguments import check_arguments
from factory.care.examine import examine_shard, find_view_problem, missing_tables, orphan_problem
from factory.dataset.expected import find_expected
from factory.dataset.planned_files import find_file_problems
from factory.dataset.receipts import check_snapshots, examine_receipts
from factory.dataset.state import DatasetState, find_plan
from factory.errors import JobError, Problem
from factory.manifest.makers import describe_makers, find_makers
from factory.manifest.paths import SHARDS, SIDECARS, shard_index_of, tar_path
from factory.manifest.records import ShardRecord
from factory.pack.contents import Expected
from factory.store import Store, open_store

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a verification."""

    num_shards: int
    num_samples: int
    problems: tuple[Problem, ...]
    """Each with its file, what was found and what was expected."""
    num_regenerated: int = 0
    """Samples that were made again and compared."""
    makers: tuple[str, ...] = ()
    """Shards by what decided their bytes (device, kernels, versions): a line each, if they differ."""


@check_arguments
def verify_dataset(
    dataset: Store | str | Path,
    *,
    deep: bool = False,
    regenerate: int = 0,
    trust_plugins: bool = False,
) -> Findings:
    """Check every committed shard of a dataset.

    Args:
        dataset: Its store, folder or URI.
        deep: Decode every sample, recompute its counts, and compare it with its table.
        regenerate: Make so many samples again too, spread over the dataset, and compare bytes. They
            are made only if all else is good: what is damaged differs anyway.
        trust_plugins: Run code that the job stored in the dataset names, if that needs it.

    Raises:
        JobError: If `regenerate` is negative.
        StoreError: If there is no dataset, or a receipt belongs to another one.
        WeightsError: If samples are to be made again and the weights are not on this machine.
    """
    if regenerate < 0:
        raise JobError(where="regenerate", found=f"found {regenerate}", allowed="0 or more samples")
    store = dataset if isinstance(dataset, Store) else open_store(str(dataset))
    findings = _read_back(store, deep=deep)
    if not regenerate or findings.problems:
        return findings
    from factory.care.replay import regenerate_samples  # loads torch, which reading does without

    num_regenerated, problems = regenerate_samples(store, regenerate, trust_plugins=trust_plugins)
    return replace(findings, problems=tuple(problems), num_regenerated=num_regenerated)


def _read_back(store: Store, *, deep: bool) -> Findings:
    plan = find_plan(store)
    records, unreadable = examine_receipts(store, plan)
    expected = find_expected(store, plan) if records else Expected(0, [], 0)

    def check(record: ShardRecord) -> list[Problem]:
        task = plan.task(record.round_index, record.shard_index)
        assert task is not None  # checked by `examine_receipts`
        return list(examine_shard(store, record, task, expected if deep else None).problems)

    with ThreadPoolExecutor(_THREADS) as threads:
        problems = [*unreadable]
        problems += [problem for found in threads.map(check, records) for problem in found]
    doubtful = {shard_index_of(problem.path) for problem in unreadable}
    known = {
        tar_path(task.name, task.split) for task in plan.tasks() if task.shard_index in doubtful
    }
    known |= {record.path for record in records}
    problems += [orphan_problem(name) for name in store.names(SHARDS) if name not in known]
    if not deep:
        problems += missing_tables(records, set(store.names(SIDECARS)))
    problems += check_snapshots(store, records).values()
    problems += find_file_problems(store, plan.rounds[0].identity)
    if records and not problems:  # what is derived from them is right only if they are
        view = find_view_problem(store, DatasetState(plan, tuple(records)), deep=deep)
        problems += [view] if view is not None else []
    count = sum(record.num_samples for record in records)
    makers = find_makers(records)
    is_mixed = sum(1 for maker in makers if maker.facts) > 1
    told = tuple(describe_makers(makers)) if is_mixed else ()
    return Findings(len(records), count, tuple(problems), makers=told)
