"""Compute answers from a snapshot: pure functions, no store, no HTTP."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

from factory.dataset.pace import pairs_per_s
from factory.manifest.coverage import Coverage
from factory.manifest.makers import count_makers, name_makers
from factory.manifest.measure import NUM_CELLS
from factory.manifest.paths import tar_path
from factory.manifest.statistics import (
    border_of,
    close_pair_rate,
    confidence_of,
    duplicate_rate,
    evenness,
    quantile,
    sharpness_of,
)
from factory.plan.targets import judge_targets
from factory.serve.answers import (
    CoverageAnswer,
    Distribution,
    GeneratorClass,
    LatentCoverage,
    MaskClass,
    QualityName,
    RoundAnswer,
    Rounds,
    ShardAnswer,
    Shards,
    ShardState,
    Summary,
    TargetAnswer,
)
from factory.serve.queries import ShardsQuery
from factory.serve.view import Snapshot
from factory.spec.coverage import AREA_EDGES

_STATES: tuple[ShardState, ...] = ("planned", "leased", "committed", "quarantined")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles to report."""

_PLACES: dict[QualityName, Callable[[float], float]] = {
    "confidence": confidence_of,
    "agreement": confidence_of,
    "sharpness": sharpness_of,
    "border": border_of,
}


def summarize(snapshot: Snapshot) -> Summary:
    """Summarise the dataset."""
    records = snapshot.records
    counts = Counter(dict.fromkeys(_STATES, 0))
    for round_ in snapshot.plan.rounds:
        for run in snapshot.runs(round_):
            counts[run.state] += run.end_shard - run.first_shard
    rejected: Counter[str] = Counter()
    for record in records:
        rejected.update(record.num_rejected)
    made = sum(record.num_samples for record in records)
    rate = pairs_per_s(snapshot.records)
    done = {record.shard_index for record in records}
    left = sum(task.num_samples for task in snapshot.plan.without(done))
    whole = len(records) == sum(counts.values())
    return Summary(
        name=snapshot.plan.rounds[0].name,
        uri=snapshot.uri,
        dataset_id=snapshot.plan.dataset_id,
        version=snapshot.version,
        state="running" if snapshot.in_flight else "complete" if whole else "incomplete",
        rounds=len(snapshot.plan.rounds),
        shards=counts,
        samples_planned=snapshot.plan.num_samples,
        samples_committed=made,
        images_rejected=dict(sorted(rejected.items())),
        bytes=sum(record.size_bytes for record in records),
        last_commit=max((record.finished_at for record in records), default="never"),
        pairs_per_s=round(rate, 2),
        eta_s=0.0 if not left else round(left / rate, 1) if rate else -1.0,
        attribution=snapshot.meaning.attribution if snapshot.meaning else "",
        license=snapshot.meaning.license if snapshot.meaning else "",
        makers=name_makers(count_makers(records)),
    )


def describe_coverage(snapshot: Snapshot) -> CoverageAnswer:
    """Compute coverage statistics of the samples."""
    covered, progress = snapshot.coverage, snapshot.progress
    names = snapshot.meaning.generator_classes if snapshot.meaning else []
    labels = sorted({*range(len(names)), *(label for label in covered.made if label >= 0)})
    kept = [covered.kept.get(label, 0) for label in labels]
    return CoverageAnswer(
        samples=sum(record.num_samples for record in snapshot.records),
        samples_unknown=snapshot.num_unknown,
        mask_classes=_mask_classes(snapshot),
        generator_classes=[
            GeneratorClass(
                id=label,
                name=names[label] if label < len(names) else str(label),
                made=covered.made.get(label, 0),
                kept=covered.kept.get(label, 0),
            )
            for label in labels
        ],
        area_edges=[edge / 1000 for edge in AREA_EDGES],
        curves=[
            _distribution(name, covered)
            for name in _PLACES
            if name != "agreement" or covered.agreement
        ],
        latent=LatentCoverage(
            cell_evenness=round(evenness(covered.cells, NUM_CELLS), 4),
            class_evenness=round(evenness(kept, len(labels)), 4),
            cells_visited=sum(1 for count in covered.cells if count),
            duplicate_rate=round(duplicate_rate(covered), 4),
            close_pair_rate=round(close_pair_rate(covered), 6),
        ),
        targets=[TargetAnswer(**asdict(s)) for s in judge_targets(progress)] if progress else [],
        budget=progress.budget if progress else 0,
        budget_left=max(0, progress.left) if progress else 0,
    )


def _mask_classes(snapshot: Snapshot) -> list[MaskClass]:
    labels = snapshot.meaning.labels if snapshot.meaning else []
    px = _sum_by_class([record.class_px for record in snapshot.records], len(labels))
    images = _sum_by_class([record.class_images for record in snapshot.records], len(labels))
    total = max(1, sum(px))
    return [
        MaskClass(
            id=label.id,
            name=label.name,
            colour="#{:02x}{:02x}{:02x}".format(*label.colour),
            images=images[label.id],
            pixels=px[label.id],
            share=round(px[label.id] / total, 6),
            area=_area(snapshot.coverage, label.id),
        )
        for label in labels
    ]


def _sum_by_class(counts: Sequence[Sequence[int]], num_classes: int) -> list[int]:
    """Sums of the receipts' counts: `labels.json` may be missing, or name fewer classes or more."""
    found = [0] * num_classes
    for row in counts:
        for place, count in enumerate(row[:num_classes]):
            found[place] += count
    return found


def _area(covered: Coverage, mask_class: int) -> list[int]:
    beyond = [covered.images_with(mask_class, min_area=edge / 1000) for edge in AREA_EDGES] + [0]
    return [beyond[i] - beyond[i + 1] for i in range(len(AREA_EDGES))]


def _distribution(name: QualityName, covered: Coverage) -> Distribution:
    counts: list[int] = getattr(covered, name)
    place = _PLACES[name]
    return Distribution(
        name=name,
        quantiles=[round(place(quantile(counts, share)), 4) for share in QUANTILES],
        edges=[round(place(float(position)), 4) for position in range(len(counts))],
        counts=counts,
    )


def list_rounds(snapshot: Snapshot) -> Rounds:
    """List all rounds with the states of their index ranges."""
    return Rounds(
        rounds=[
            RoundAnswer(
                round_index=round_.round_index,
                num_samples=round_.num_samples,
                goal=round_.steering.goal if round_.steering else "",
                runs=snapshot.runs(round_),
            )
            for round_ in snapshot.plan.rounds
        ]
    )


def list_shards(snapshot: Snapshot, query: ShardsQuery) -> Shards:
    """List a page of the matching shards."""
    records = {record.shard_index: record for record in snapshot.records}
    found = []
    for task in snapshot.plan.tasks():
        state = snapshot.state_of(task.shard_index, records)
        if query.state in (None, state):
            found.append((task, state))
    shards = []
    for task, state in found[query.offset : query.offset + query.limit]:
        record = records.get(task.shard_index)
        shards.append(
            ShardAnswer(
                shard_index=task.shard_index,
                round_index=task.round_index,
                state=state,
                path=tar_path(task.name, task.split),
                first_index=task.first_index,
                num_indices=task.num_indices,
                num_samples=record.num_samples if record else task.num_samples,
                size_bytes=record.size_bytes if record else 0,
                sha256=record.sha256 if record else "",
                worker=record.worker if record else "",
                device=record.device if record else "",
                finished_at=record.finished_at if record else "",
            )
        )
    return Shards(total=len(found), shards=shards)
