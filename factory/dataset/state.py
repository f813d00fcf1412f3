"""Read the state of a dataset from its store: rounds, receipts, label table, job, coverage targets.

Neither a generator nor torch nor Ray is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from factory.dataset.options import TRUST_OPTION
from factory.dataset.receipts import find_records
from factory.dataset.trust import check_stored_job
from factory.errors import DamageError, StoreError
from factory.manifest.labels import DatasetLabels, read_labels
from factory.manifest.paths import (
    JOB_PATH,
    LABELS_PATH,
    LEFT_BY_A_RUN,
    ORIGINS_PATH,
    TARGETS_PATH,
    round_path,
)
from factory.manifest.records import RecordSequence, ShardRecord
from factory.plan.identity import check_bytes_version, dataset_id_of, identity_differences
from factory.plan.rounds import Plan, Round, read_round
from factory.plan.targets import TargetProgress, cover_rounds, measure_progress
from factory.spec import JobSpec
from factory.spec.anchor import anchor_paths
from factory.spec.coverage import CoverageSpec
from factory.spec.read import check_job
from factory.spec.yaml_text import parse_yaml
from factory.store import Store
from factory.store.addresses import local_path


@dataclass(frozen=True, slots=True)
class DatasetState:
    """The state of a dataset: its plan and its committed shards."""

    plan: Plan
    records: Sequence[ShardRecord]
    """Receipts of the committed shards, in order."""

    @property
    def done(self) -> set[int]:
        """Indices of the committed shards."""
        if isinstance(self.records, RecordSequence):
            return self.records.indices
        return {record.shard_index for record in self.records}

    @property
    def num_samples(self) -> int:
        """Number of samples in the committed shards."""
        if isinstance(self.records, RecordSequence):
            return self.records.num_samples
        return sum(record.num_samples for record in self.records)


def find_rounds(store: Store, known: Sequence[Round] = ()) -> list[Round]:
    """Read the rounds of the dataset in `store`, in order; none if it is empty.

    `known` ones are not read again: rounds are immutable.

    Raises:
        DamageError: If a round is damaged, or does not continue the one before it.
        StoreError: If the store contains other files, but no dataset.
    """
    rounds = _read_rounds(store, known)
    if not rounds:
        foreign = store.find_foreign_entry(LEFT_BY_A_RUN)
        if foreign is not None:
            raise StoreError(
                f"{store.uri}: contains {foreign!r} but no dataset; choose an empty or new "
                "folder as output.uri"
            )
    return rounds


def _read_rounds(store: Store, known: Sequence[Round]) -> list[Round]:
    rounds = list(known)
    while (data := store.read(round_path(len(rounds)))) is not None:
        source = f"{store.uri}/{round_path(len(rounds))}"
        rounds.append(_check_round(read_round(data, source=source), rounds, source))
    return rounds


def _check_round(found: Round, before: list[Round], source: str) -> Round:
    """Require that a round continues where the one before it ends, in the same dataset.

    Raises:
        DamageError: If it does not.
    """
    last = before[-1] if before else None
    expected = (
        (
            len(before),
            last.first_shard + last.num_shards,
            last.end_index,
            last.dataset_id,
            last.name,
        )
        if last
        else (0, 0, 0, found.dataset_id, found.name)
    )
    has = (found.round_index, found.first_shard, found.first_index, found.dataset_id, found.name)
    sections = [found.identity.get(name) for name in ("generator", "segmenter", "encode")]
    if has != expected or not all(isinstance(section, dict) for section in sections):
        raise DamageError(
            where=source,
            found="does not continue the round before it, or lacks the dataset's identity",
            remedy="restore it, or choose another output.uri",
        )
    return found


def find_plan(store: Store, known: Sequence[Round] = ()) -> Plan:
    """Read the plan of the dataset in `store`; rounds that are `known` are not read again.

    Raises:
        StoreError: If there is none.
    """
    rounds = _read_rounds(store, known)
    if not rounds:
        raise StoreError(
            where=store.uri, found="no dataset here", remedy="make one with `factory run JOB`"
        )
    return Plan(rounds[0].dataset_id, tuple(rounds))


def find_state(store: Store, known: DatasetState | None = None) -> DatasetState:
    """Read plan and records of the dataset in `store`; what is `known` is not read again.

    Raises:
        StoreError: If there is none, or a receipt belongs to another dataset.
    """
    if known is None:
        plan = find_plan(store)
        return DatasetState(plan, find_records(store, plan))
    plan = find_plan(store, known.plan.rounds)
    return DatasetState(plan, find_records(store, plan, known.records))


def load_stored_job(store: Store, *, trust_plugins: bool = False) -> JobSpec:
    """Read the job file that the dataset was started with.

    Raises:
        PluginError: If it names a `module:attribute` and is not trusted; see `trust.py`.
        StoreError: If it is missing, or there is no dataset.
    """
    document = read_stored_job(store, trust_plugins=trust_plugins)
    return check_job(document, source=f"{store.uri}/{JOB_PATH}")


def read_stored_job(store: Store, *, trust_plugins: bool = False) -> dict[str, Any]:
    """Read that file as plain values, not validated yet; its paths lead to what lies there.

    Raises:
        PluginError: If it names a `module:attribute` and is not trusted; see `trust.py`.
        StoreError: If it is missing, or there is no dataset.
    """
    data = store.read(JOB_PATH)
    if data is None:
        # In an empty folder the more helpful error is that there is no dataset.
        if "derived" in find_plan(store).rounds[0].identity:
            raise StoreError(
                where=store.uri,
                found="its samples are copies from other datasets, made by no job of its own",
                remedy=f"use those datasets; {ORIGINS_PATH} names the samples",
            )
        raise StoreError(
            where=f"{store.uri}/{JOB_PATH}", found="missing", remedy="copy the job's file there"
        )
    source = f"{store.uri}/{JOB_PATH}"
    try:
        document = parse_yaml(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DamageError(f"{source}: not UTF-8 text; copy the job's file there again") from error
    except ValueError as error:
        raise DamageError(f"{source}: {error}; copy the job's file there again") from error
    if not isinstance(document, dict):
        raise DamageError(f"{source}: not a mapping of settings; copy the job's file there again")
    if not trust_plugins:
        remedy = f"inspect that code, then repeat the command with {TRUST_OPTION}"
        check_stored_job(document, source, remedy=remedy)
    root = local_path(store.uri)
    if root is not None:
        anchor_paths(document, JobSpec, root)
    return document


def find_coverage_spec(store: Store) -> CoverageSpec | None:
    """Read the coverage targets of the latest run; None if it had none.

    Raises:
        StoreError: If they are damaged.
    """
    data = store.read(TARGETS_PATH)
    if data is None:
        return None
    try:
        return TypeAdapter(CoverageSpec | None).validate_json(data)
    except ValidationError as error:
        raise DamageError(
            f"{store.uri}/{TARGETS_PATH}: not coverage targets; run the job again to write it"
        ) from error


def replace_coverage_spec(store: Store, targets: CoverageSpec | None) -> None:
    """Write the coverage targets of this run, if they are others than those of the latest one."""
    if targets != find_coverage_spec(store):
        encoded = TypeAdapter(CoverageSpec | None).dump_json(targets, indent=1)
        store.replace(TARGETS_PATH, encoded + b"\n")


def progress_of(store: Store, state: DatasetState) -> TargetProgress | None:
    """Progress of the coverage targets; None without targets, or before the first shard."""
    spec = find_coverage_spec(store)
    if spec is None or store.read(LABELS_PATH) is None:
        return None
    by_round = cover_rounds(state.records)
    return measure_progress(spec, find_labels(store), state.plan, by_round)


def check_same_dataset(store: Store, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Require that a job's identity (`ours`) equals that of the dataset in `store` (`theirs`).

    Raises:
        StoreError: If it does not, with a list of the differences; or if another version made it.
    """
    check_bytes_version(theirs, source=store.uri)
    differences = identity_differences(ours, theirs)
    if differences:
        lines = "\n".join(f"  {line}" for line in differences)
        raise StoreError(
            f"{store.uri}: holds another dataset ({dataset_id_of(theirs)}); choose another "
            f"output.uri, or make the job equal. What differs:\n{lines}"
        )


def find_labels(store: Store) -> DatasetLabels:
    """Read the label table.

    Raises:
        StoreError: If it is missing or damaged.
    """
    data = store.read(LABELS_PATH)
    if data is None:
        raise DamageError(
            where=f"{store.uri}/{LABELS_PATH}",
            found="missing",
            remedy="run the job again to write it",
        )
    return read_labels(data, source=f"{store.uri}/{LABELS_PATH}")
