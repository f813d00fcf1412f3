"""The next round for the targets that are open: the planner's only judgement.

Three means, the cheapest first: visiting classes of the generator, dropping what does not serve the
target, and, where too little would be left, keeping the best of large pools. No round can spend more
than what is left of the budget, because it owns no more sample indices than that.
"""

import math
from dataclasses import dataclass

from factory.data import Steering
from factory.plan.rounds import Plan, Round
from factory.plan.targets import NEVER_EMPTY, Target, TargetProgress

_SURE_HITS = 5
_ROOM = 4
_POOL = 64
_MOST_POOLS = 16
_LONGEST_TURN = 65_536
_TRUST = 0.9
_FEW = 8
_NAMES = 5


@dataclass(frozen=True, slots=True)
class _RoundRequest:
    """Samples to add, and how."""

    num_samples: int
    rate: float
    """Share of images that are kept, as far as is known; 1 = all."""
    steering: Steering
    num_images: int = 0
    """Exactly so many images, for a ranked pool; 0 = as many as `rate` needs."""


def next_round(plan: Plan, progress: TargetProgress, *, oversample: float) -> Round | None:
    """The round to add to a plan whose rounds are all complete; None if nothing more can be done.

    Args:
        plan: The rounds that are there.
        progress: What their receipts add up to.
        oversample: The job's own, the least that a round gets.
    """
    order = _next_order(progress)
    if order is None:
        return None
    last = plan.rounds[-1]
    most_per_shard = plan.rounds[0].samples_per_shard
    num_samples = order.num_samples
    while (
        num_samples > 1
        and num_samples * _factor(order, num_samples, most_per_shard) > progress.left
    ):
        num_samples = (num_samples + 1) // 2
    factor = max(oversample, _factor(order, num_samples, most_per_shard))
    return Round(
        dataset_id=last.dataset_id,
        name=last.name,
        round_index=last.round_index + 1,
        first_shard=last.first_shard + last.num_shards,
        first_index=last.end_index,
        num_samples=num_samples,
        samples_per_shard=_per_shard(num_samples, most_per_shard),
        oversample=max(1.0, min(factor, math.floor(progress.left / num_samples * 1000) / 1000)),
        identity=last.identity,
        steering=order.steering,
    )


def _per_shard(num_samples: int, most: int) -> int:
    """Samples of each shard, so that no shard is much smaller than the others."""
    return math.ceil(num_samples / math.ceil(num_samples / most))


def _factor(order: _RoundRequest, num_samples: int, most_per_shard: int) -> float:
    """Indices for each sample of a round, so that no shard comes out empty."""
    if order.num_images:
        return order.num_images / order.num_samples
    if order.rate >= 1:
        return 1.0
    per_shard = _per_shard(num_samples, most_per_shard)
    tail = num_samples - (math.ceil(num_samples / per_shard) - 1) * per_shard
    return max(_ROOM, NEVER_EMPTY / tail) / order.rate


def _next_order(progress: TargetProgress) -> _RoundRequest | None:
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
                return _for_masks(progress, target, short, lacking)
    return _for_classes(progress, able, lacking) if lacking else None


def _for_classes(
    progress: TargetProgress, able: list[Target], lacking: dict[int, int]
) -> _RoundRequest:
    """Visit the classes that are missing, those more often of which more is rejected."""
    rates = {c: progress.acceptance(c) for c in lacking}
    lacking = {c: _sure_count(progress, c, missing) for c, missing in lacking.items()}
    cost = sum(lacking[c] / rates[c] for c in lacking)
    part = min(1.0, progress.left / cost)
    counts = {c: max(1, math.floor(lacking[c] * part)) for c in lacking}
    num_samples = min(sum(counts.values()), progress.left)
    names = [t.name for t in able if t.generator_class in lacking and progress.deficit(t)]
    goal = ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
    steering = Steering(goal=goal, classes=_turn(counts, rates))
    return _RoundRequest(num_samples, min(1.0, sum(lacking.values()) / cost), steering)


def _for_masks(
    progress: TargetProgress, target: Target, short: int, lacking: dict[int, int]
) -> _RoundRequest:
    """Drop what does not serve the target; rank where that would leave next to nothing."""
    assert target.mask_class is not None
    yields = {c: _yield(progress, target, c) for c in progress.unsteered.made if c >= 0}
    best = max(yields.values(), default=0.0)
    useful = {c: n for c, n in lacking.items() if yields.get(c, 0) > best / 4}
    if useful:  # these samples serve two targets at once, and take chances from the next round
        mean = sum(n * yields[c] for c, n in useful.items()) / sum(useful.values())
        short = math.ceil(short / (1 - _TRUST * mean))
        visits, short = _turn(useful, dict.fromkeys(useful, 1.0)), min(short, sum(useful.values()))
    else:
        visits = {c: 1 for c, rate in yields.items() if best and rate >= best / 2}
    hits, made = _evidence(progress, target, set(visits))
    rate = hits / max(1, made)
    if hits < _SURE_HITS or progress.left * rate < NEVER_EMPTY:
        pool = max(_POOL, progress.least_images(target))
        pools = min(short, _MOST_POOLS, max(1, progress.left // pool))
        images = min(progress.left, pools * pool)
        steering = Steering(goal=target.name, classes=visits, best_by=target.mask_class)
        return _RoundRequest(pools, 1.0, steering, images)
    room = max(1, math.floor(progress.left * rate / _ROOM))
    least = target.min_area or 1e-9
    steering = Steering(goal=target.name, classes=visits, min_area={target.mask_class: least})
    return _RoundRequest(min(short, room), rate, steering)


def _evidence(progress: TargetProgress, target: Target, classes: set[int]) -> tuple[int, int]:
    """Images that served the target and images made, of these classes (of all if there are none)."""
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
    """Share of the kept images of a generator's class that serve the target."""
    assert target.mask_class is not None
    kept = progress.unsteered.kept.get(generator_class, 0)
    hits = progress.unsteered.images_with(
        target.mask_class, min_area=target.min_area, generator_class=generator_class
    )
    return hits / kept if kept else 0.0


def _sure_count(progress: TargetProgress, generator_class: int, missing: int) -> int:
    """As many samples as can be asked for while a wrong rate costs no more than a tenth of the target.

    The relative error of a rate a that k kept samples showed is sqrt((1 - a) / k).
    """
    kept = progress.unsteered.kept.get(generator_class, 0)
    rejected = 1 - progress.acceptance(generator_class)
    if rejected <= 0:
        return missing
    wanted = kept + missing
    return min(missing, max(_FEW, math.ceil(wanted / 10 * math.sqrt(max(kept, 1) / rejected))))


def _turn(counts: dict[int, int], rates: dict[int, float]) -> dict[int, int]:
    """How often each class is visited in a turn: as often as needed, in a turn of bounded length."""
    visits = {c: counts[c] / rates[c] for c in sorted(counts)}
    shrink = max(1.0, sum(visits.values()) / _LONGEST_TURN)
    return {c: max(1, round(n / shrink)) for c, n in visits.items()}
