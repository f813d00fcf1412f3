"""Which driver plans a round."""

from threading import Barrier, Thread

from small_job import small_job

from factory.dataset.state import find_rounds
from factory.plan.growth import Growth
from factory.plan.identity import make_identity
from factory.run.claim import claim_round
from factory.store import open_store


def claim_at_once(folder, growths):
    """Drivers that have all read the same plan claim a round each; returns the rounds that are there."""
    spec = small_job(folder)
    identity = make_identity(spec, weights_sha256="", segmenter_sha256="")
    store = open_store(spec.output.uri)
    rounds = find_rounds(store)
    together = Barrier(len(growths))
    plans = [None] * len(growths)

    def claim(position, growth):
        together.wait()
        plans[position] = claim_round(store, spec, identity, rounds, growth)

    threads = [Thread(target=claim, args=pair) for pair in enumerate(growths)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return find_rounds(store), plans


def test_drivers_with_one_key_plan_one_round_between_them(tmp_path):
    rounds, plans = claim_at_once(tmp_path, [Growth(10, "night")] * 8)
    assert [(r.step, r.num_samples) for r in rounds] == [("night", 10)]
    assert {spec.dataset.num_samples for spec, _ in plans} == {10}
    assert all(plan.rounds == tuple(rounds) for _, plan in plans)


def test_drivers_with_two_keys_plan_two_rounds_whoever_is_first(tmp_path):
    rounds, _ = claim_at_once(tmp_path, [Growth(10, "a"), Growth(5, "b")] * 4)
    assert sorted((r.step, r.num_samples) for r in rounds) == [("a", 10), ("b", 5)]


def test_nameless_steps_add_up(tmp_path):
    rounds, _ = claim_at_once(tmp_path, [Growth(5)] * 4)
    assert [r.num_samples for r in rounds] == [5, 5, 5, 5]
    assert [r.first_index for r in rounds] == [0, 5, 10, 15]
