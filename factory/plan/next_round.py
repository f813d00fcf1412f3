"""Plan the next round for open coverage targets: the planner's only heuristic.

Four methods: drawing certain classes of the generator, rejecting samples that do not count for the
target, where too few would remain keeping the best of a large index range, and searching latents
whose masks have the layout of a sample that counts. A search costs many images for each sample, and is
used where rejection has been seen to cost more (`plan/search.py`).
A round cannot exceed the remaining budget, because it owns no more sample indices than that pays for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from factory.data import Steering, TargetSearch
from factory.plan.rounds import Plan, Round
from factory.plan.search import SearchSize, size_search
from factory.plan.targets import NEVER_EMPTY, Target, TargetProgress

# A rate estimated from fewer hits is too uncertain to size a round by: rank instead.
_SURE_HITS = 5
# Indices per expected need: a rate is an estimate. Spare indices cost no time, because a full shard
# stops.
_RESERVE = 4
# A shard of a ranked round computes its whole range for one sample: few images rank badly, and many
# shards would spend the budget before their receipts can improve the estimate.
_RANKED_RANGE = 64
_MOST_RANKED_SHARDS = 16
_LONGEST_CYCLE = 65_536
# Share of the samples expected from other targets' rounds that is counted on.
_TRUST = 0.9
# Samples that a first round may always ask for, however uncertain the rate is.
_FEW = 8
# Names in a goal: it is stored in every round and shown in one line.
_NAMES = 5

FindHolders = Callable[[Target], tuple[int, ...]]
"""Finds samples of complete rounds that count for a target, by index: layouts of a search."""


@dataclass(frozen=True, slots=True)
class _RoundRequest:
    """Size and steering of a round."""

    num_samples: int
    rate: float
    """Estimated share of images that are accepted; 1 = all."""
    steering: Steering
    num_images: int = 0
    """Exact number of images, for ranking; 0 = as many as `rate` requires."""
    least_indices: int = 1
    """Sample indices of the smallest shard."""

    @property
    def images_each(self) -> int:
        """Images of the budget that a sample index takes."""
        return self.steering.search.images_each if self.steering.search else 1


def next_round(
    plan: Plan,
    progress: TargetProgress,
    *,
    oversample: float,
    find_holders: FindHolders | None = None,
) -> Round | None:
    """Plan a round on top of complete rounds; None if all targets are met or out of reach.

    Args:
        plan: The existing rounds.
        progress: Progress of the targets, from the receipts of these rounds.
        oversample: The job's own setting, the minimum for a round.
        find_holders: Finds layouts for a search; None if the dataset's latents cannot be searched.
    """
    request = _next_request(progress, find_holders)
    if request is None:
        return None
    round_ = _make_round(plan, progress, request, oversample)
    if request.steering.search is None or _has_layouts(plan, round_, request.steering.search):
        return round_
    request = _next_request(progress, None)
    return _make_round(plan, progress, request, oversample) if request is not None else None


def _has_layouts(plan: Plan, round_: Round, search: TargetSearch) -> bool:
    """Whether each split of a round has samples whose masks its search may want: those of that split."""
    owners = (plan.owner_of(index) for index in search.layouts)
    held = {owner.split for owner in owners if owner is not None}
    return held.issuperset(task.split for task in round_.tasks())


def _make_round(
    plan: Plan, progress: TargetProgress, request: _RoundRequest, oversample: float
) -> Round:
    last = plan.rounds[-1]
    most_per_shard = plan.rounds[0].samples_per_shard
    num_samples, affordable = request.num_samples, progress.left // request.images_each
    while (
        num_samples > 1 and num_samples * _factor(request, num_samples, most_per_shard) > affordable
    ):
        num_samples = (num_samples + 1) // 2
    factor = _factor(request, num_samples, most_per_shard)
    if request.steering.search is None:  # spare indices of a search are not spared: all are made
        factor = max(oversample, factor)
    round_ = Round(
        schema_version=1 if request.steering.search is None else 2,
        dataset_id=last.dataset_id,
        name=last.name,
        round_index=last.round_index + 1,
        first_shard=last.first_shard + last.num_shards,
        first_index=last.end_index,
        num_samples=num_samples,
        samples_per_shard=_per_shard(num_samples, most_per_shard),
        oversample=_thousandths(min(factor, affordable / num_samples)),
        identity=last.identity,
        steering=request.steering,
    )
    return _within(round_, affordable)


def _thousandths(factor: float) -> float:
    return max(1.0, math.floor(factor * 1000) / 1000)


def _within(round_: Round, affordable: int) -> Round:
    """The round with no more indices than are affordable: the range of each shard is rounded up."""
    if round_.end_index - round_.first_index <= affordable:
        return round_
    spare = max(0, affordable - round_.num_shards)
    oversample = _thousandths(spare / round_.num_samples)
    return round_.model_copy(update={"oversample": oversample})


def _per_shard(num_samples: int, most: int) -> int:
    """Samples per shard, so that no shard is much smaller than the others."""
    return math.ceil(num_samples / math.ceil(num_samples / most))


def _factor(request: _RoundRequest, num_samples: int, most_per_shard: int) -> float:
    """Sample indices per sample of a round, so that no shard is likely to come out empty."""
    per_shard = _per_shard(num_samples, most_per_shard)
    # The last shard is the smallest, and an empty shard is an error that ends in quarantine.
    tail = num_samples - (math.ceil(num_samples / per_shard) - 1) * per_shard
    if request.num_images:
        return max(request.num_images / request.num_samples, request.least_indices / tail)
    if request.rate >= 1:
        return 1.0
    return max(_RESERVE, NEVER_EMPTY / tail) / request.rate


def _next_request(
    progress: TargetProgress, find_holders: FindHolders | None
) -> _RoundRequest | None:
    able = [target for target in progress.targets if not progress.why_not(target)]
    lacking: dict[int, int] = {}
    for target in able:
        missing = progress.deficit(target)
        if target.generator_class is not None and missing:
            lacking[target.generator_class] = max(missing, lacking.get(target.generator_class, 0))
    for target in able:
        if target.mask_class is not None and (missing := progress.deficit(target)):
            expected = sum(lacking[c] * _yield(progress, target, c) for c in lacking)
            short = math.ceil(missing - _TRUST * expected)
            if short > 0:
                return _for_masks(progress, target, short, lacking, find_holders)
    return _for_classes(progress, able, lacking) if lacking else None


def _for_classes(
    progress: TargetProgress, able: list[Target], lacking: dict[int, int]
) -> _RoundRequest:
    """Draw the classes that are missing, and those with a lower acceptance rate more often."""
    rates = {c: progress.acceptance(c) for c in lacking}
    lacking = {c: _sure_count(progress, c, missing) for c, missing in lacking.items()}
    cost = sum(lacking[c] / rates[c] for c in lacking)
    part = min(1.0, progress.left / cost)
    counts = {c: max(1, math.floor(lacking[c] * part)) for c in lacking}
    num_samples = min(sum(counts.values()), progress.left)
    names = [t.name for t in able if t.generator_class in lacking and progress.deficit(t)]
    goal = ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
    steering = Steering(goal=goal, classes=_cycle(counts, rates))
    return _RoundRequest(num_samples, min(1.0, sum(lacking.values()) / cost), steering)


def _for_masks(
    progress: TargetProgress,
    target: Target,
    short: int,
    lacking: dict[int, int],
    find_holders: FindHolders | None,
) -> _RoundRequest:
    """Reject samples that do not count for the target; rank or search where too few would remain."""
    assert target.mask_class is not None
    yields = {c: _yield(progress, target, c) for c in progress.unsteered.made if c >= 0}
    best = max(yields.values(), default=0.0)
    useful = {c: n for c, n in lacking.items() if yields.get(c, 0) > best / 4}
    # Samples of these classes count for two targets at once, so that fewer are planned for this one.
    if useful:
        mean = sum(n * yields[c] for c, n in useful.items()) / sum(useful.values())
        short = math.ceil(short / (1 - _TRUST * mean))
        visits, short = _cycle(useful, dict.fromkeys(useful, 1.0)), min(short, sum(useful.values()))
    else:
        visits = {c: 1 for c, rate in yields.items() if best and rate >= best / 2}
    hits, made = _evidence(progress, target, set(visits))
    rate = hits / max(1, made)
    size = size_search(progress, target, short, hits, made) if find_holders is not None else None
    if size is not None and find_holders is not None and (layouts := find_holders(target)):
        return _for_search(target, size, layouts, visits)
    if hits < _SURE_HITS or progress.left * rate < NEVER_EMPTY:
        range_size = max(_RANKED_RANGE, progress.least_images(target))
        num_shards = min(short, _MOST_RANKED_SHARDS, max(1, progress.left // range_size))
        images = min(progress.left, num_shards * range_size)
        steering = Steering(goal=target.name, classes=visits, best_by=target.mask_class)
        return _RoundRequest(num_shards, 1.0, steering, images)
    most = max(1, math.floor(progress.left * rate / _RESERVE))
    least = target.min_area or 1e-9
    steering = Steering(goal=target.name, classes=visits, min_area={target.mask_class: least})
    return _RoundRequest(min(short, most), rate, steering)


def _for_search(
    target: Target, size: SearchSize, layouts: tuple[int, ...], visits: dict[int, int]
) -> _RoundRequest:
    """Search latents, and keep those with the largest share of the class."""
    steering = Steering(
        goal=target.name,
        classes=visits,
        best_by=target.mask_class,
        search=TargetSearch(layouts=layouts),
    )
    return _RoundRequest(size.num_samples, 1.0, steering, size.num_indices, size.least_indices)


def _evidence(progress: TargetProgress, target: Target, classes: set[int]) -> tuple[int, int]:
    """Images that counted for the target and images made, of these classes (of all if none given)."""
    assert target.mask_class is not None
    if classes:
        made = sum(progress.unsteered.made.get(c, 0) for c in classes)
        hits = sum(
            progress.unsteered.images_with(
                target.mask_class, min_area=target.min_area, generator_class=c
            )
            for c in classes
        )
    else:
        made, hits = progress.unsteered.num_made, target.count(progress.unsteered)
    steered = progress.by_goal.get(target.name)
    if steered is not None:
        made, hits = made + steered.num_made, hits + target.count(steered)
    return hits, made


def _yield(progress: TargetProgress, target: Target, generator_class: int) -> float:
    """Share of a generator class's accepted images that count for the target."""
    assert target.mask_class is not None
    kept = progress.unsteered.kept.get(generator_class, 0)
    hits = progress.unsteered.images_with(
        target.mask_class, min_area=target.min_area, generator_class=generator_class
    )
    return hits / kept if kept else 0.0


def _sure_count(progress: TargetProgress, generator_class: int, missing: int) -> int:
    """Number of samples to request at once, limited while the acceptance rate is uncertain.

    The relative error of a rate a estimated from k accepted samples is sqrt((1 - a) / k). The
    request is limited so that this error costs at most a tenth of the target: a small round first,
    whose receipts then give a better estimate for the next one.
    """
    kept = progress.unsteered.kept.get(generator_class, 0)
    rejected = 1 - progress.acceptance(generator_class)
    if rejected <= 0:
        return missing
    wanted = kept + missing
    return min(missing, max(_FEW, math.ceil(wanted / 10 * math.sqrt(max(kept, 1) / rejected))))


def _cycle(counts: dict[int, int], rates: dict[int, float]) -> dict[int, int]:
    """How often each class is drawn per cycle: in proportion to what is missing, of bounded length."""
    # Divided by the acceptance rate, because rejected samples of a class do not count for it.
    visits = {c: counts[c] / rates[c] for c in sorted(counts)}
    shrink = max(1.0, sum(visits.values()) / _LONGEST_CYCLE)
    return {c: max(1, round(n / shrink)) for c, n in visits.items()}
