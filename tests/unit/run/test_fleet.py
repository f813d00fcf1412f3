"""The rules of `run/fleet.py`, on clusters that exist only in memory, with clocks turned by hand."""

from collections import deque

import pytest
from toy_cluster import Toy, fleet_of, indices, task, tasks, turn

from factory.errors import FactoryError, PluginError, PreemptedError, RetryableError
from factory.run.fleet import Cluster


def test_it_is_a_cluster():
    assert isinstance(Toy(), Cluster)


def test_every_worker_gets_two_calls_the_idle_first():
    toy, waiting = Toy(capacity=2), tasks(9)
    fleet = fleet_of(toy)
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert {name: indices(calls) for name, calls in toy.calls.items()} == {0: [0, 2], 1: [1, 3]}
    toy.land(1)
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[1]) == [3, 4]


def test_a_task_goes_to_the_worker_that_has_none():
    toy, waiting = Toy(capacity=2), tasks(4)
    fleet = fleet_of(toy)
    turn(fleet, waiting)
    fleet.fill(waiting)
    for worker in (1, 1, 0):
        toy.land(worker)
    list(fleet.completed())
    fleet.fill(deque([(task(9), 0)]))
    assert {name: indices(calls) for name, calls in toy.calls.items()} == {0: [2], 1: [9]}


def test_no_more_workers_are_started_than_there_is_to_do():
    toy = Toy(capacity=8)
    turn(fleet_of(toy), tasks(3))
    assert len(toy.started) == 3


def test_nothing_is_given_to_a_worker_that_is_not_ready():
    toy = Toy(capacity=1)
    toy.auto_ready = False
    fleet, waiting = fleet_of(toy), tasks(2)
    turn(fleet, waiting)
    turn(fleet, waiting)
    assert toy.calls == {0: []}
    assert len(waiting) == 2


def test_a_dead_worker_is_replaced_and_its_shards_come_back():
    toy, waiting = Toy(capacity=1), tasks(3)
    fleet = fleet_of(toy)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.lose(0)
    back = list(fleet.completed())
    assert [t.shard_index for t, _ in back] == [0, 1]
    assert all(type(error) is RetryableError for _, error in back)
    assert str(back[0][1]) == "its worker died (for a test)"
    turn(fleet, waiting)
    assert toy.started == [0, 1]


def test_a_node_that_goes_is_nobodys_fault():
    toy, waiting = Toy(capacity=1), tasks(1)
    fleet = fleet_of(toy)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.lose(0, is_preempted=True)
    ((_, error),) = fleet.completed()
    assert isinstance(error, PreemptedError)


def test_a_shard_that_failed_is_made_alone():
    toy = Toy(capacity=1)
    fleet = fleet_of(toy)
    waiting = deque([(task(0), 0), (task(1), 1), (task(2), 0)])
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[0]) == [0], "the suspect waits until the worker is idle"
    toy.land(0)
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[0]) == [1], "and nothing joins it"
    toy.land(0)
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[0]) == [2]


def test_workers_are_added_when_the_cluster_grows_and_only_for_auto():
    toy, fixed = Toy(capacity=1), Toy(capacity=1)
    fleet, other = fleet_of(toy), fleet_of(fixed, num_actors=1)
    for _ in range(2):
        turn(fleet, tasks(20))
        turn(other, tasks(20))
    toy.num_workers = fixed.num_workers = 3
    for _ in range(4):
        turn(fleet, tasks(20))
        turn(other, tasks(20))
    assert (len(toy.started), len(fixed.started)) == (3, 1)


def test_a_worker_retires_after_its_shards_and_only_when_it_is_idle():
    toy, waiting = Toy(capacity=1), tasks(9)
    fleet = fleet_of(toy, shards_per_actor=2)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.land(0)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.land(0)
    turn(fleet, waiting)
    assert indices(toy.calls[0]) == [2], "it has made two, and one is under way"
    assert toy.killed == []
    toy.land(0)
    turn(fleet, waiting)
    assert toy.killed == [0]
    turn(fleet, waiting)
    fleet.fill(waiting)
    assert indices(toy.calls[1]) == [3, 4]


def test_a_worker_that_hangs_is_killed_and_its_shards_are_tried_again():
    toy, waiting = Toy(capacity=1), tasks(2)
    fleet = fleet_of(toy, shard_deadline_s=5)
    turn(fleet, waiting)
    back = []
    while not back:
        back = turn(fleet, waiting)
    waiting.extend((t, 1) for t, _ in back)
    turn(fleet, waiting)
    assert [t.shard_index for t, _ in back] == [0, 1]
    assert str(back[0][1]) == "not done after 5 s (run.shard_deadline_s): its worker was killed"
    assert type(back[0][1]) is RetryableError
    assert toy.killed == [0]
    assert len(toy.started) == 2


def test_a_worker_that_lands_shards_in_time_does_not_hang():
    toy, waiting = Toy(capacity=1), tasks(20)
    fleet = fleet_of(toy, shard_deadline_s=5)
    turn(fleet, waiting)
    fleet.fill(waiting)
    for _ in range(5):
        toy.now += 3
        toy.land(0)
        turn(fleet, waiting)
        fleet.fill(waiting)
    assert toy.killed == []


def draining(seconds_left):
    """A fleet whose shards take 10 s, and whose worker's node leaves in `seconds_left`."""
    toy, waiting = Toy(capacity=1), tasks(9)
    fleet = fleet_of(toy)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.now += 9
    toy.land(0)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.going = {"node-0": seconds_left}
    toy.now += 2
    back = turn(fleet, waiting)
    return toy, fleet, waiting, back


def test_a_node_that_leaves_soon_drops_its_shards_at_once():
    toy, _, _, back = draining(seconds_left=5.0)
    assert toy.killed == [0]
    assert [t.shard_index for t, _ in back] == [1, 2]
    assert all(isinstance(error, PreemptedError) for _, error in back)
    assert str(back[0][1]) == "its node leaves in 5 s"


def test_a_node_that_leaves_later_finishes_its_shards_and_gets_no_more():
    toy, fleet, waiting, back = draining(seconds_left=60.0)
    assert (toy.killed, back) == ([], [])
    toy.land(0)
    toy.land(0)
    assert [t.shard_index for t, _ in turn(fleet, waiting)] == [1, 2]
    assert toy.killed == [0]
    assert indices(toy.calls[1]) == [3, 4], "its replacement goes on"


@pytest.mark.parametrize(("seconds_left", "num_dropped"), [(17.0, 2), (19.0, 0)])
def test_what_is_under_way_already_counts_when_a_node_leaves(seconds_left, num_dropped):
    # Two shards of 10 s, and 2 s of the first are over.
    assert len(draining(seconds_left)[3]) == num_dropped


def test_deaths_are_forgotten_when_a_shard_lands():
    toy, waiting = Toy(capacity=1), tasks(40)
    fleet = fleet_of(toy)

    def busy():
        while not (names := [name for name, calls in toy.calls.items() if calls]):
            turn(fleet, waiting)
        return names[0]

    for _ in range(3):
        for _ in range(4):
            toy.lose(busy())
            list(fleet.completed())
        toy.land(busy())
        list(fleet.completed())
    assert len(toy.started) == 13, "twelve were lost, never more than four in a row"


def test_workers_that_die_without_end_stop_the_run():
    toy, waiting = Toy(capacity=1), tasks(1)
    fleet = fleet_of(toy)

    def die_for_ever():
        while True:
            turn(fleet, waiting)
            for name, calls in toy.calls.items():
                if calls:
                    waiting.extend((t, 0) for t in calls)
                    toy.lose(name)

    with pytest.raises(FactoryError, match="workers died 6 times in a row without finishing"):
        die_for_ever()


def test_a_cluster_that_never_starts_a_worker_is_given_up():
    toy = Toy(capacity=1)
    toy.auto_ready = False
    fleet = fleet_of(toy)

    def wait_for_ever():
        while True:
            turn(fleet, tasks(1))

    with pytest.raises(PluginError, match="no worker could start for 1800 s; the cluster holds 1"):
        wait_for_ever()
