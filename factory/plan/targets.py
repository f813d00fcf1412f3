"""Progress of coverage targets: which are met, and why others are out of reach.

Everything is a pure function of the targets, the rounds and the receipts of complete rounds, so
that any driver plans the same next round. A round never depends on one that is still being made.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from factory.errors import JobError
from factory.manifest.coverage import Coverage, merge_coverage
from factory.manifest.labels import DatasetLabels
from factory.manifest.records import ShardRecord
from factory.plan.rounds import Plan
from factory.spec.coverage import AreaTarget, CoverageSpec

ENOUGH_TO_JUDGE = 64
"""Images without a single sample of a class after which the class is given up."""

NEVER_EMPTY = 25
"""Expected accepted samples of a shard: with 25 it is empty with probability e^-25, once in 10^11."""

RANKED_ENOUGH = 2048
"""Ranked images after which a target that not even the best of them reached is given up."""


@dataclass(frozen=True, slots=True)
class Target:
    """A required number of accepted samples with a mask class or of a generator class."""

    name: str
    wanted: int
    mask_class: int | None = None
    generator_class: int | None = None
    min_area: float = 0.0

    def count(self, coverage: Coverage) -> int:
        """Number of samples that count for the target."""
        if self.mask_class is not None:
            return coverage.images_with(self.mask_class, min_area=self.min_area)
        return coverage.kept.get(self.generator_class or 0, 0)


@dataclass(frozen=True, slots=True)
class TargetState:
    """Progress and state of a target."""

    name: str
    wanted: int
    have: int
    state: Literal["met", "open", "out of reach"]
    why: str
    """The reason if it is out of reach, else empty."""


@dataclass(frozen=True, slots=True)
class TargetProgress:
    """Progress of all targets, added up over the receipts of all rounds."""

    targets: tuple[Target, ...]
    coverage: Coverage
    """Of all samples."""
    unsteered: Coverage
    """Of the rounds that reject nothing for a target: an unbiased estimate of the generator's rates."""
    by_goal: dict[str, Coverage]
    """Of the rounds that reject or rank for a target, by its name."""
    by_search: dict[str, Coverage]
    """Of the rounds that search latents for a target, by its name."""
    ranked_made: dict[str, int]
    """Images made for ranking, by the target's name."""
    budget: int
    left: int
    """Remaining images of the budget."""

    def deficit(self, target: Target) -> int:
        """Number of missing samples."""
        return max(0, target.wanted - target.count(self.coverage))

    def acceptance(self, generator_class: int | None = None) -> float:
        """Share of images accepted by the job's own rules, of one generator class or of all."""
        made, kept = self.unsteered.num_made, self.unsteered.num_kept
        if generator_class is not None and self.unsteered.kept.get(generator_class):
            made = self.unsteered.made[generator_class]
            kept = self.unsteered.kept[generator_class]
        return max(kept, 1) / max(made, 1)

    def least_images(self, target: Target) -> int:
        """Images of the smallest round for `target` that is unlikely to come out empty."""
        rate = self.acceptance(target.generator_class)
        return math.ceil(NEVER_EMPTY / rate) if rate < 1 else 1

    def why_not(self, target: Target) -> str:
        """The reason why `target` is out of reach; empty if it is not."""
        if self.left < self.least_images(target):
            spent = self.budget - self.left
            rest = ", too little is left for another round" if self.left > 0 else ""
            return f"budget spent: {spent:,} of {self.budget:,} images{rest}"
        if target.generator_class is not None:
            made = self.coverage.made.get(target.generator_class, 0)
            if made >= ENOUGH_TO_JUDGE and not self.coverage.kept.get(target.generator_class):
                return f"acceptance too low: none of {made:,} images of this class was kept"
            return ""
        assert target.mask_class is not None
        made = self.coverage.num_kept
        if made >= ENOUGH_TO_JUDGE and not self.coverage.images_with(target.mask_class):
            return f"never produced: none of {made:,} samples holds this class"
        pooled = self.ranked_made.get(target.name, 0)
        if pooled >= RANKED_ENOUGH and not target.count(self.by_goal[target.name]):
            return f"acceptance too low: not even the best of {pooled:,} images reach it"
        return ""


def cover_rounds(records: Iterable[ShardRecord]) -> dict[int, Coverage]:
    """Coverage of each round's committed shards; shards without recorded coverage count as empty."""
    parts: dict[int, list[Coverage]] = {}
    for record in records:
        parts.setdefault(record.round_index, []).append(record.coverage or Coverage())
    return {round_index: merge_coverage(parts[round_index]) for round_index in sorted(parts)}


def measure_progress(
    spec: CoverageSpec, meaning: DatasetLabels, plan: Plan, by_round: Mapping[int, Coverage]
) -> TargetProgress:
    """Add up all rounds with regard to the targets.

    Raises:
        JobError: If a target names an unknown class.
    """
    steering = {round_.round_index: round_.steering for round_ in plan.rounds}
    plain: list[Coverage] = []
    ranked_made: dict[str, int] = {}
    spent = 0
    by_goal: dict[str, list[Coverage]] = {}
    by_search: dict[str, list[Coverage]] = {}
    for round_index, covered in by_round.items():
        steered = steering.get(round_index)
        if steered is not None:
            spent += covered.num_made * (steered.search.images_each if steered.search else 1)
        if steered is None or not (steered.min_area or steered.best_by is not None):
            plain.append(covered)
        elif steered.search is not None:
            by_search.setdefault(steered.goal, []).append(covered)
        else:
            by_goal.setdefault(steered.goal, []).append(covered)
            if steered.best_by is not None:
                ranked_made[steered.goal] = ranked_made.get(steered.goal, 0) + covered.num_made
    unsteered, chosen, searched = merge_coverage(plain), _merge(by_goal), _merge(by_search)
    coverage = merge_coverage([unsteered, *chosen.values(), *searched.values()])
    return TargetProgress(
        targets=find_targets(spec, meaning, coverage),
        coverage=coverage,
        unsteered=unsteered,
        by_goal=chosen,
        by_search=searched,
        ranked_made=ranked_made,
        budget=spec.budget,
        left=spec.budget - spent,
    )


def _merge(parts: Mapping[str, list[Coverage]]) -> dict[str, Coverage]:
    return {goal: merge_coverage(one) for goal, one in parts.items()}


def judge_targets(progress: TargetProgress) -> list[TargetState]:
    """The state of every target, in the job's order."""
    states = []
    for target in progress.targets:
        have = target.count(progress.coverage)
        why = progress.why_not(target) if have < target.wanted else ""
        word: Literal["met", "open", "out of reach"] = "met" if have >= target.wanted else "open"
        word = "out of reach" if why else word
        states.append(TargetState(target.name, target.wanted, have, word, why))
    return states


def find_targets(
    spec: CoverageSpec, meaning: DatasetLabels, coverage: Coverage
) -> tuple[Target, ...]:
    """The job's targets with the ids of their classes; those of `balance` follow from what there is.

    Raises:
        JobError: If a target names a class that there is not, or two have the name.
    """
    named = tuple(_named(key, wanted, meaning) for key, wanted in spec.min_samples.items())
    if spec.balance is None:
        return named
    names = meaning.generator_classes
    classes = list(range(len(names))) or sorted(label for label in coverage.made if label >= 0)
    if not classes:
        if coverage.num_made:
            raise JobError(
                "dataset.coverage.balance: this generator has no classes; remove the setting"
            )
        return named
    aims = {label: coverage.kept.get(label, 0) for label in classes}
    for target in named:
        if target.generator_class is not None:
            aims[target.generator_class] = max(aims[target.generator_class], target.wanted)
    least = math.ceil(spec.balance * max(aims.values()))
    return named + tuple(
        Target(f"balance of {names[label] if names else label}", least, generator_class=label)
        for label in classes
    )


def _named(key: int | str, wanted: int | AreaTarget, meaning: DatasetLabels) -> Target:
    mask_names = {label.name: label.id for label in meaning.labels}
    where = f"dataset.coverage.min_samples.{key}"
    area = wanted.min_area if isinstance(wanted, AreaTarget) else 0.0
    count = wanted.count if isinstance(wanted, AreaTarget) else wanted
    mask_class = int(key) if str(key).isdigit() else mask_names.get(str(key))
    is_generator_class = key in meaning.generator_classes
    if is_generator_class and mask_class is not None:
        raise JobError(
            f"{where}: both the masks and the generator have a class of this name; write the number "
            "of the mask class"
        )
    if is_generator_class:
        if area:
            raise JobError(f"{where}: a class of the generator has no area; remove min_area")
        label = meaning.generator_classes.index(str(key))
        return Target(str(key), count, generator_class=label)
    if mask_class is None or mask_class >= len(mask_names):
        known = ", ".join([*mask_names, *meaning.generator_classes])
        raise JobError(f"{where}: no such class; the masks and the generator have {known}")
    name = f"{key}, area >= {area:.1%}" if area else str(key)
    return Target(name, count, mask_class=mask_class, min_area=area)
