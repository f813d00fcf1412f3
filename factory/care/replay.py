"""Regenerate samples of a dataset and compare bytes: the test of its reproducibility."""

from bisect import bisect_right
from itertools import accumulate, groupby

from factory.data import ShardTask
from factory.dataset.finder import SampleFinder
from factory.dataset.planned_files import check_files
from factory.dataset.state import DatasetState, find_state, load_stored_job
from factory.dataset.walk import StoredSample, open_shard, record_of
from factory.errors import Problem, StoreError
from factory.fit.pixels.pool import one_thread
from factory.generate.weights.find import find_weights
from factory.identity import is_key
from factory.manifest.paths import SEGMENTER_PATH
from factory.manifest.records import ShardRecord
from factory.pack.packing import EncodedSample
from factory.plan.identity import check_bytes_version
from factory.plan.rounds import Plan
from factory.provenance import new_run_id
from factory.run.base import WorkerConfig
from factory.run.worker import build_maker
from factory.segment.methods import has_file
from factory.shard import ShardMaker
from factory.store import Store


def regenerate_samples(
    store: Store, count: int, *, trust_plugins: bool = False
) -> tuple[int, list[Problem]]:
    """Regenerate `count` samples, spread over the dataset, or all of them if there are fewer.

    Returns the number of regenerated samples, and a problem for each file that differs.

    Raises:
        StoreError: If the dataset is empty, or another version made it.
        DamageError: If a shard is not what its receipt says, or the segmenter not what the plan says.
        WeightsError: If its weights are not on this machine.
    """
    state = find_state(store)
    if not state.records:
        raise StoreError(f"{store.uri}: no shard is committed yet; run the job first")
    maker = _maker(store, state.plan, trust_plugins=trust_plugins)
    tasks = {task.shard_index: task for task in state.plan.tasks()}
    ends = list(accumulate(record.num_samples for record in state.records))
    count = min(count, ends[-1])
    chosen = (position * ends[-1] // count for position in range(count))
    problems = []
    for place, positions in groupby(chosen, key=lambda position: bisect_right(ends, position)):
        record = state.records[place]
        first = ends[place] - record.num_samples
        within = [position - first for position in positions]
        with one_thread():  # a notebook's process has many, and sums depend on it
            problems += _compare(store, maker, record, tasks[record.shard_index], within)
    return count, problems


def replay_sample(
    store: Store, key: str, *, trust_plugins: bool = False
) -> tuple[EncodedSample, list[Problem]]:
    """Regenerate the sample `key`; returns its files, and a problem for each that differs.

    Raises:
        StoreError: If no committed shard contains the sample, or another version made it.
        DamageError: If its shard is missing or truncated.
        WeightsError: If the dataset's weights are not on this machine.
    """
    state = find_state(store)
    record, stored = _find(store, state, key)
    tasks = {task.shard_index: task for task in state.plan.tasks()}
    with one_thread():
        maker = _maker(store, state.plan, trust_plugins=trust_plugins)
        again = maker.replay(tasks[record.shard_index], int(key))
    return again, _differences(record, stored, again, maker.versions)


def find_maker(
    store: Store, key: str, *, trust_plugins: bool = False
) -> tuple[ShardMaker, ShardTask]:
    """What makes the sample `key` again: the dataset's maker, and the task of the sample's shard.

    Raises:
        StoreError: If no committed shard contains the sample, or another version made it.
        DamageError: If its shard is missing or truncated.
        WeightsError: If the dataset's weights are not on this machine.
    """
    state = find_state(store)
    record, _ = _find(store, state, key)
    tasks = {task.shard_index: task for task in state.plan.tasks()}
    maker = _maker(store, state.plan, trust_plugins=trust_plugins)
    return maker, tasks[record.shard_index]


def _find(store: Store, state: DatasetState, key: str) -> tuple[ShardRecord, StoredSample]:
    index = int(key) if is_key(key) else -1
    record = record_of(state.records, index)
    stored = SampleFinder(store).find(record, index) if record else None
    if record is None or stored is None:
        raise StoreError(
            where=store.uri,
            found=f"no committed shard holds sample {key!r}",
            allowed="keys are nine digits, and the tables in meta/ list them",
        )
    return record, stored


def _maker(store: Store, plan: Plan, *, trust_plugins: bool) -> ShardMaker:
    check_bytes_version(plan.rounds[0].identity, source=store.uri)
    spec = load_stored_job(store, trust_plugins=trust_plugins)
    segmenter = SEGMENTER_PATH if has_file(spec.dataset.segmenter) else ""
    check_files(store, plan.rounds[0].identity)
    weights = find_weights(spec.dataset.generator)
    run = spec.run.model_copy(update={"threads_per_actor": 1})
    config = WorkerConfig(
        dataset=spec.dataset,
        run=run,
        output_uri=store.uri,
        single_writer=spec.output.single_writer,
        weights_sha256=weights.sha256,
        segmenter_path=segmenter,
        run_id=new_run_id(),
        import_paths=(),
    )
    return build_maker(config)


def _compare(
    store: Store, maker: ShardMaker, record: ShardRecord, task: ShardTask, positions: list[int]
) -> list[Problem]:
    problems = []
    with open_shard(store, record) as shard:
        for position in positions:
            stored = shard.read(position)
            again = maker.replay(task, int(stored.key))
            problems += _differences(record, stored, again, maker.versions)
    return problems


def _differences(
    record: ShardRecord, stored: StoredSample, again: EncodedSample, now: dict[str, str]
) -> list[Problem]:
    why = _why(record, now)
    return [
        Problem(
            record.path, "different", f"its {ending} comes out different ({why})", sample=stored.key
        )
        for ending, data in again.files
        if stored.files.get(ending) != data
    ]


def _why(record: ShardRecord, now: dict[str, str]) -> str:
    changed = [f"{k} {v} -> {now.get(k)}" for k, v in record.versions.items() if now.get(k) != v]
    if changed:
        return f"other libraries: {', '.join(changed)}"
    return f"made on {record.device}"
