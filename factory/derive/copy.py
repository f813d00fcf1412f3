"""Write a dataset that is made of others: images and masks byte for byte, facts with new keys.

The tars are written anew. A view over the tars of another dataset would have to open paths that a
dataset names outside of its own root, which no reader of untrusted datasets may do; it would break with
the first dataset that is moved; and readers of plain tars would see all samples, not the chosen ones.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from factory.data import ShardTask
from factory.dataset.committed import find_committed
from factory.dataset.incomplete import tell_incomplete
from factory.dataset.state import check_same_dataset, find_rounds
from factory.dataset.views import make_manifest, write_views
from factory.dataset.walk import (
    FACTS_FILE,
    INSTANCES_FILE,
    OpenShard,
    StoredSample,
    explain_damage,
    open_shard,
)
from factory.derive.distinct import check_distinct, check_output
from factory.derive.joined import Joined, join
from factory.derive.rule import Chosen, Rule, Source, check_rule, choose
from factory.errors import DamageError, JobError, StoreError
from factory.identity import sample_key
from factory.make.commit import Origin, commit_shard, make_record
from factory.make.produced import ProducedSamples
from factory.manifest.labels import encode_labels
from factory.manifest.makers import UNKNOWN
from factory.manifest.measure import Measures
from factory.manifest.parquet import encode_table
from factory.manifest.paths import LABELS_PATH, ORIGINS_PATH, round_path, sidecar_of
from factory.manifest.records import Manifest
from factory.pack.facts import InstanceFacts, SampleFacts, encode_facts, read_facts, read_sidecar
from factory.pack.packing import PackedRows
from factory.pack.tar import ShardWriter
from factory.plan.rounds import encode_round
from factory.provenance import new_run_id
from factory.spec.settings import DatasetName
from factory.store import Store


def derive_dataset(
    sources: Sequence[Store],
    output: Store,
    rule: Rule,
    *,
    name: str = "",
    samples_per_shard: int = 1000,
) -> Manifest:
    """Write the samples of `sources` that obey `rule` to `output`; running it again resumes it.

    Args:
        sources: The datasets' stores; several are merged.
        output: Empty, or begun by the same call.
        rule: Which samples are taken.
        name: Its name; by default that of the first source.
        samples_per_shard: Samples per tar.

    Returns:
        The manifest of the new dataset.

    Raises:
        JobError: If a class is unknown, no sample is left, the sources do not fit each other or share
            samples, or `output` lies in a dataset.
        StoreError: If a source has no dataset, or `output` holds another one.
        DamageError: If a shard or a table of a source is missing or damaged.
    """
    check_rule(rule)
    _check_name(name)
    check_output(output, sources)
    opened = [Source(store, make_manifest(store)) for store in sources]
    check_distinct(opened, rule)
    for source in opened:
        tell_incomplete(source.store, source.manifest)
    chosen = choose(opened, rule)
    name = name or opened[0].manifest.name
    joined = join(opened, chosen, rule, name=name, samples_per_shard=samples_per_shard)
    _claim(output, joined)
    run_id = new_run_id()
    rows = [row for inside in chosen.values() for row in inside]
    try:
        done = find_committed(output, joined.plan).indices
        for task in joined.plan.without(done):
            inside = rows[task.first_index : task.first_index + task.num_samples]
            _copy_shard(opened, joined, task, inside, output, run_id)
    finally:
        output.clean_up(run_id)
    output.replace(ORIGINS_PATH, _encode_origins(rows, opened))
    manifest = make_manifest(output)
    write_views(output, manifest)
    return manifest


def _check_name(name: str) -> None:
    if name:
        try:
            TypeAdapter(DatasetName).validate_python(name)
        except ValidationError as error:
            raise JobError(
                where="name",
                found=f"found {name[:80]!r}",
                allowed="a-z, 0-9, _ and -, at most 64 of them, and no _ or - first",
            ) from error


def _claim(output: Store, joined: Joined) -> None:
    """Write the plan, or find it there."""
    existing = find_rounds(output)
    if existing:
        check_same_dataset(output, joined.identity, existing[0].identity)
    for round_ in joined.plan.rounds:
        output.create(round_path(round_.round_index), encode_round(round_))
    output.create(LABELS_PATH, encode_labels(joined.labels))


def _copy_shard(
    sources: Sequence[Source],
    joined: Joined,
    task: ShardTask,
    chosen: Sequence[Chosen],
    output: Store,
    run_id: str,
) -> None:
    started = time.monotonic()
    rows = PackedRows()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "shard.tar"
        with ShardWriter(path) as writer:
            for offset, (one, stored, measures) in enumerate(_read(sources, chosen)):
                facts = _renamed(stored, joined, one, task, task.first_index + offset)
                files = stored.files | {FACTS_FILE: encode_facts(facts)}
                writer.add([(f"{facts.key}.{ending}", data) for ending, data in files.items()])
                rows.facts.append(facts)
                rows.measures.append(measures)
            packed = writer.finish()
        num_classes = len(joined.labels.generator_classes)
        produced = ProducedSamples(rows, Counter(), num_classes, 0.0)
        origin = Origin(
            run_id=run_id,
            wall_s=time.monotonic() - started,
            generate_s=0.0,
            device=UNKNOWN,
            num_rejected={},
            versions={},
            coverage=produced.cover(),
        )
        record = make_record(task, rows.facts, packed, origin)
        if commit_shard(output, task, path, record, rows.facts, rows.measures) is None:
            raise StoreError(
                where=f"{output.uri}/{record.path}",
                found="another tar is there, without a receipt",
                remedy=f"`factory gc {output.uri} --older-than 0` removes it, then run this again",
            )


def _read(
    sources: Sequence[Source], chosen: Sequence[Chosen]
) -> Iterator[tuple[Chosen, StoredSample, Measures]]:
    """Read samples in order; each shard is opened once for its neighbours."""
    here: tuple[int, str] | None = None
    with ExitStack() as stack:
        shard: OpenShard | None = None
        measures: Sequence[Measures] = ()
        for one in chosen:
            source = sources[one.source]
            if here != (one.source, one.record.path):
                stack.close()
                shard = stack.enter_context(open_shard(source.store, one.record))
                measures = _measures(source, one)
                here = (one.source, one.record.path)
            assert shard is not None
            with explain_damage(source.store, one.record):
                yield one, shard.read(one.position), measures[one.position]


def _measures(source: Source, one: Chosen) -> list[Measures]:
    path = sidecar_of(one.record.path)
    try:
        rows = read_sidecar(source.store.read(path) or b"", most_rows=one.record.num_samples)
    except ValueError as error:
        remedy = f"`factory repair {source.store.uri}` rebuilds it"
        raise DamageError(
            where=f"{source.store.uri}/{path}", found=str(error), remedy=remedy
        ) from error
    return [measures for _, measures in rows]


def _renamed(
    stored: StoredSample, joined: Joined, one: Chosen, task: ShardTask, index: int
) -> SampleFacts:
    """The facts of a sample in its new dataset."""
    kind = InstanceFacts if INSTANCES_FILE in stored.files else SampleFacts
    facts = read_facts(stored.file(FACTS_FILE), kind)
    numbers = joined.generator_class[one.source]
    return facts.model_copy(
        update={
            "key": sample_key(index),
            "index": index,
            "dataset_id": task.dataset_id,
            "class_label": numbers.get(facts.class_label, facts.class_label),
        }
    )


def _encode_origins(rows: Sequence[Chosen], sources: Sequence[Source]) -> bytes:
    """A table that names the sample which each one is a copy of."""
    ids = [source.manifest.dataset_id for source in sources]
    table: Mapping[str, pa.Array] = {
        "index": pa.array(range(len(rows)), pa.int64()),
        "dataset_id": pa.array([ids[row.source] for row in rows], pa.string()),
        "origin": pa.array([row.index for row in rows], pa.int64()),
    }
    return encode_table(pa.table(table))
