"""Fitting pixels spread over workers that exist in this process, and die when they are told to."""

import pytest
import torch
from small_job import small_job

from factory.errors import FactoryError
from factory.fit.pixels.part import Part
from factory.fit.pixels.pool import PixelPool, ThreadedPixelPool
from factory.fit.pixels.sampling import NUM_PARTS, Sampling
from factory.generate.base import load_generator
from factory.run.ray_fit import DistributedPixelPool, FitWorkers, WorkerDied

CPU = torch.device("cpu")


class Workers:
    """Workers in this process. A call is answered late, and last calls first."""

    def __init__(self, folder, num_workers):
        self.dataset = small_job(folder).dataset
        self.generator = load_generator(self.dataset.generator, None, device=CPU)
        self.facts = self.generator.facts
        self.parts = {}
        self.sent = {}
        self.replayed = []
        self.num_calls = 0
        self.dies_at = {}
        self.all_are_born_dead = False
        for _ in range(num_workers):
            self.start()

    @property
    def names(self):
        return list(self.parts)

    def start(self):
        name = f"worker-{len(self.parts)}"
        self.parts[name] = None if self.all_are_born_dead else {}
        return name

    def call(self, worker, part, calls, *, is_new):
        self.num_calls += 1
        if self.num_calls in self.dies_at:
            self.parts[self.dies_at.pop(self.num_calls)] = None
        self.replayed += [len(calls)] if is_new else []
        self.sent[self.num_calls] = (worker, part, list(calls), is_new)
        return self.num_calls

    def completed(self, futures):
        future = max(futures)
        worker, part, calls, is_new = self.sent.pop(future)
        if self.parts[worker] is None:
            return [(future, WorkerDied("for a test"))]
        if is_new:
            self.parts[worker][part] = Part(part, self.generator, self.dataset, CPU)
        try:
            with torch.inference_mode():
                for method, args in calls:
                    answer = getattr(self.parts[worker][part], method)(*args)
        except ValueError as error:
            return [(future, error)]
        return [(future, answer)]


def sampling_of(facts):
    (name, shape), *_ = facts.layers.items()
    return Sampling((name,), (shape.channels,), num_images=50, pixels_per_image=4, seed=3)


def fit_with(pool, between=lambda: None):
    """What a fit asks of a pool: sample, assign, start over, assign; the last sums."""
    sampling = sampling_of(pool.facts)
    torch.manual_seed(0)
    centres = torch.randn(3, sampling.num_channels)
    answers = []
    for seed, corners in ((3, "aligned"), (4, "half_pixel")):
        again = Sampling(sampling.layers, sampling.widths, 50, 4, seed, corners)
        for step in range(2):
            answers += pool.update("sample", again, step)
        between()
        answers += [counts.tolist() for counts in pool.update("assign", centres)]
        answers += [sums.tolist() for sums, *_ in pool.query("lloyd", centres)]
    return answers


def reference(workers):
    lanes = ThreadedPixelPool(workers.generator, workers.dataset, CPU, 1)
    answers = fit_with(lanes)
    lanes.close()
    return answers


def pool_of(workers):
    return DistributedPixelPool(workers, workers.names)


def test_it_is_a_pool_and_its_workers_keep_their_promise(tmp_path):
    workers = Workers(tmp_path, 2)
    assert isinstance(workers, FitWorkers)
    assert isinstance(pool_of(workers), PixelPool)


def test_answers_come_in_the_order_of_the_parts_however_they_arrive(tmp_path):
    workers = Workers(tmp_path, 3)
    assert fit_with(pool_of(workers)) == reference(workers)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 2, 3])
@pytest.mark.parametrize("dies_at", [5, NUM_PARTS + 5, 2 * NUM_PARTS + 5, 6 * NUM_PARTS + 5])
def test_the_parts_of_a_dead_worker_are_made_again_on_another(tmp_path, num_workers, dies_at):
    workers = Workers(tmp_path, num_workers)
    workers.dies_at = {dies_at: "worker-0"}
    assert fit_with(pool_of(workers)) == reference(workers)
    assert len(workers.parts) == max(num_workers, 2), "only the last one is replaced"


def test_nothing_before_a_new_sampling_is_replayed(tmp_path):
    workers = Workers(tmp_path, 2)
    pool = pool_of(workers)
    fit_with(pool)
    workers.parts["worker-1"] = None
    workers.replayed.clear()
    pool.query("lloyd", torch.zeros(3, sampling_of(pool.facts).num_channels))
    assert workers.replayed == [4] * (NUM_PARTS // 2), "two steps, one assignment, the call itself"


def test_workers_that_die_again_and_again_end_the_fit(tmp_path):
    workers = Workers(tmp_path, 1)
    pool = pool_of(workers)
    workers.parts["worker-0"], workers.all_are_born_dead = None, True
    with pytest.raises(FactoryError) as caught:
        pool.query("lloyd", torch.zeros(1, 1))
    assert str(caught.value).startswith("9 workers died while fitting (for a test); look at memory")


def test_an_error_of_a_call_is_raised_as_it_is(tmp_path):
    workers = Workers(tmp_path, 2)

    def fail(*_):
        raise ValueError("of this part")

    pool = pool_of(workers)
    pool.update("sample", sampling_of(pool.facts), 0)
    for parts in workers.parts.values():
        for part in parts.values():
            part.lloyd = fail
    with pytest.raises(ValueError, match="of this part"):
        pool.query("lloyd", torch.zeros(1, sampling_of(pool.facts).num_channels))
