"""A run reports its tasks in flight to the service beside it, and does not depend on it."""

from collections import deque

import pytest
from ray.exceptions import RayActorError
from toy_cluster import Toy, fleet_of, record_of, task, tasks, turn

from factory.run import ray_service
from factory.run.drive import Fleet
from factory.run.ray_service import NotifyingFleet, service_name


class Call:
    """The handle of a remote method: notes what it is called with."""

    def __init__(self):
        self.reports = []
        self.is_dead = False

    def remote(self, indices):
        if self.is_dead:
            raise RayActorError
        self.reports.append(indices)


class Service:
    def __init__(self):
        self.set_in_flight = Call()


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(ray_service.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def run(clock):
    toy, service = Toy(capacity=2), Service()
    inner = fleet_of(toy)
    return toy, NotifyingFleet(inner, service), service.set_in_flight


def test_it_is_a_fleet(run):
    assert isinstance(run[1], Fleet)


def test_tasks_are_reported_when_they_are_assigned_and_when_they_are_done(run, clock):
    toy, fleet, call = run
    waiting = tasks(5)
    turn(fleet, waiting)
    clock[0] += 1
    fleet.fill(waiting)
    assert call.reports[-1] == [0, 1, 2, 3]
    toy.land(0)
    clock[0] += 1
    assert [done.shard_index for done, _ in fleet.completed()] == [0]
    assert call.reports[-1] == [1, 2, 3]


def test_reports_are_a_second_apart(run, clock):
    _, fleet, call = run
    fleet.fill(deque())
    fleet.fill(deque())
    assert len(call.reports) == 1
    clock[0] += 0.9
    fleet.fill(deque())
    assert len(call.reports) == 1
    clock[0] += 0.2
    fleet.fill(deque())
    assert len(call.reports) == 2


def test_a_service_that_is_being_restarted_does_not_stop_the_run(run, clock):
    toy, fleet, call = run
    call.is_dead = True
    waiting = tasks(2)
    turn(fleet, waiting)
    fleet.fill(waiting)
    toy.land(0)
    assert [(done.shard_index, made) for done, made in fleet.completed()] == [(0, record_of(0))]


def test_datasets_that_share_a_cluster_have_services_of_their_own():
    assert service_name([task(0)]) == "factory-manifest-d"
