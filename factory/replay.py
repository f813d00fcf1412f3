"""Make samples of a dataset again and compare bytes: the proof that it is what it says."""

from factory.data import ShardTask
from factory.dataset import SEGMENTER_PATH, find_holdings, load_stored_job
from factory.errors import StoreError
from factory.fit.fitted import needs_fitting
from factory.generate.weights import find_weights
from factory.manifest import ShardRecord
from factory.pack.tar import read_members
from factory.provenance import find_versions, new_run_id
from factory.run.base import WorkOrder
from factory.run.worker import build_maker
from factory.shard import ShardMaker
from factory.store import Store


def regenerate_samples(store: Store, count: int) -> list[str]:
    """Make `count` samples, spread over the dataset, again; one line for each that differs.

    Raises:
        StoreError: If the dataset is empty.
        WeightsError: If its weights are not on this machine.
    """
    holdings = find_holdings(store)
    if not holdings.records:
        raise StoreError(f"{store.uri}: no shard is committed yet; run the job first")
    spec = load_stored_job(store)
    segmenter = SEGMENTER_PATH if needs_fitting(spec.dataset) else ""
    weights = find_weights(spec.dataset.generator)
    run = spec.run.model_copy(update={"threads_per_actor": 1})
    order = WorkOrder(
        dataset=spec.dataset,
        run=run,
        output_uri=store.uri,
        single_writer=spec.output.single_writer,
        weights_sha256=weights.sha256,
        segmenter_path=segmenter,
        run_id=new_run_id(),
        import_paths=(),
    )
    maker = build_maker(order)
    tasks = {task.shard_index: task for task in holdings.plan.tasks()}
    problems = []
    num_shards = min(count, len(holdings.records))
    for position in range(num_shards):
        record = holdings.records[position * len(holdings.records) // num_shards]
        share = (count * (position + 1)) // num_shards - (count * position) // num_shards
        problems += _compare(store, maker, record, tasks[record.shard_index], share)
    return problems


def _compare(
    store: Store, maker: ShardMaker, record: ShardRecord, task: ShardTask, count: int
) -> list[str]:
    with store.fetch(record.path) as path:
        if path is None:
            return [f"{record.path}: missing"]
        members = dict(read_members(path))
    keys = list(dict.fromkeys(name.partition(".")[0] for name in members))
    step = max(1, len(keys) // count)
    problems = []
    for key in keys[::step][:count]:
        again = maker.replay(task, int(key))
        for ending, data in again.files:
            if members.get(f"{key}.{ending}") != data:
                problems.append(f"{record.path}: {key}.{ending} comes out different{_why(record)}")
    return problems


def _why(record: ShardRecord) -> str:
    now = find_versions()
    changed = [f"{k} {v} -> {now.get(k)}" for k, v in record.versions.items() if now.get(k) != v]
    if changed:
        return f" (other libraries: {', '.join(changed)})"
    return f" (made on {record.device})"
