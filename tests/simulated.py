"""A generator whose rates are known, and the receipts that its shards would have: no image is made."""

from receipts import a_record
from small_job import small_job

from factory.identity import counter_rng
from factory.manifest.coverage import cover_samples
from factory.manifest.labels import DatasetLabels, MaskClass
from factory.manifest.measure import UNKNOWN
from factory.plan.next_round import next_round
from factory.plan.rounds import Plan, make_plan
from factory.plan.targets import cover_rounds, judge_targets, measure_progress
from factory.spec.coverage import AreaTarget

SIZE = 1000
NAMES = ["round", "oval", "lobed"]
MEANING = DatasetLabels(
    labels=[MaskClass(id=i, name=n, colour=(0, 0, 0)) for i, n in enumerate(["ground", "nucleus"])],
    generator_classes=NAMES,
    attribution="",
    license="",
)
NO_CLASSES = MEANING.model_copy(update={"generator_classes": []})


class World:
    """A generator whose class c shows a nucleus of at least 20 % in a share `hits[c]` of its images,
    and has a share `kept[c]` of them accepted."""

    def __init__(self, hits, kept=(1.0, 1.0, 1.0), classes=3):
        self.hits, self.kept, self.classes = hits, kept, classes

    def make(self, task):
        """What a worker would count while it makes the shard."""
        steering = task.steering
        turn = []
        if steering and steering.classes:
            visits = steering.classes.items()
            turn = [
                c
                for _, c in sorted(((2 * v + 1) / (2 * n), c) for c, n in visits for v in range(n))
            ]
        rows, rejected, pool = [], {}, []
        for index in range(task.first_index, task.first_index + task.num_indices):
            rng = counter_rng("pixels", 9, index)
            label = index % self.classes if self.classes else -1
            if turn:
                label = turn[(task.cycle_offset + index - task.first_index) % len(turn)]
            px = 300 if rng.random() < self.hits[label] else int(rng.integers(1, 150))
            wanted = 0 if not steering else SIZE * steering.min_area.get(1, 0)
            if rng.random() >= self.kept[label] or px < wanted:
                rejected[label] = rejected.get(label, 0) + 1
            else:
                (pool if steering and steering.best_by is not None else rows).append((px, label))
            if len(rows) == task.num_samples:
                break
        ranked = sorted(pool, reverse=True)
        for _, label in ranked[task.num_samples :]:
            rejected[label] = rejected.get(label, 0) + 1
        rows += ranked[: task.num_samples]
        assert rows, f"an empty shard: {task}"
        covered = cover_samples(
            [label for _, label in rows], [(SIZE - px, px) for px, _ in rows], [SIZE] * len(rows),
            [0.5] * len(rows), [UNKNOWN] * len(rows), rejected=rejected, num_generator_classes=3,
        )  # fmt: skip
        return a_record(
            task.shard_index, round_index=task.round_index, num_samples=len(rows), coverage=covered
        )


def run(world, spec, tmp_path, base=60, oversample=1.0):
    """Rounds until the planner has nothing to add; the plan and the account at the end.

    `oversample` is for the first round only: of the others the planner makes sure by itself that no
    shard comes out empty.
    """
    overrides = {
        "dataset.num_samples": base,
        "dataset.samples_per_shard": 25,
        "dataset.oversample": oversample,
    }
    plan = make_plan(small_job(tmp_path, overrides), {"a": 1})
    meaning = MEANING if world.classes else NO_CLASSES
    records = [world.make(task) for task in plan.tasks()]
    for _ in range(40):
        account = measure_progress(spec, meaning, plan, cover_rounds(records))
        added = next_round(plan, account, oversample=1.0)
        if added is None:
            return plan, account
        plan = Plan(plan.dataset_id, (*plan.rounds, added))
        records += [world.make(task) for task in added.tasks()]
    raise AssertionError("it never ends")


def states(account):
    return {state.name: (state.have, state.state, state.why) for state in judge_targets(account)}


NUCLEUS = AreaTarget(count=100, min_area=0.2)
EACH = dict.fromkeys(NAMES, 200)
