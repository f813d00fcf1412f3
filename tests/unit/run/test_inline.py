"""Shards made in this process: two calls at a time, of which none outlives a failure."""

import threading

import pytest
from small_job import EXACT_PARTS, Witness, small_job, worker_config

from factory.dataset.quarantine import Attempts
from factory.errors import Interrupted, JobError
from factory.plan.rounds import make_plan
from factory.run.inline import run_inline
from factory.store import open_store


class Run:
    """A call of `run_inline` for the small job with exact masks, which needs no fit."""

    def __init__(self, folder, **overrides):
        settings = {"dataset.segmenter": EXACT_PARTS} | overrides
        spec = small_job(folder, settings)
        self.store = open_store(spec.output.uri)
        self.tasks = make_plan(spec, {"a": 1}).tasks()
        self.witness, self.stop = Witness(), threading.Event()
        self.config = worker_config(spec)

    def call(self, tasks, *more):
        rounds = iter([*more, ()])
        return run_inline(
            tasks,
            self.config,
            self.witness,
            self.stop,
            Attempts(self.store, "run"),
            lambda: next(rounds),
        )

    @property
    def made(self):
        return sorted(record.shard_index for record in self.witness.records)


def test_all_tasks_and_those_of_the_rounds_behind_them_are_made(tmp_path):
    run = Run(tmp_path)
    assert run.call(run.tasks[:1], run.tasks[1:2], run.tasks[2:]).failures == {}
    assert run.made == [0, 1, 2]
    assert run.store.names("plan") == [], "an executor writes no plan"


def test_a_shard_that_cannot_be_made_is_recorded_and_the_others_go_on(tmp_path):
    run = Run(tmp_path, **{"dataset.accept": {"class_share": {"square": [0.15, 1]}}})
    outcome = run.call(run.tasks)
    assert list(outcome.failures) == ["tiny-000000"]
    assert run.made == [1, 2]
    assert run.store.names("quarantine") == ["quarantine/0000/000000.json"]


def test_an_end_that_is_asked_for_ends_both_calls(tmp_path):
    run = Run(tmp_path)
    run.stop.set()
    with pytest.raises(Interrupted, match="stopped with 3 shards to make"):
        run.call(run.tasks)
    assert run.made == []


def test_an_error_of_the_driver_stops_the_call_that_is_still_under_way(tmp_path):
    run = Run(tmp_path)

    def fail(record):
        raise ZeroDivisionError

    run.witness.committed = fail
    with pytest.raises(ZeroDivisionError):
        run.call(run.tasks)
    assert run.stop.is_set()


def test_a_live_page_is_refused_before_anything_is_loaded(tmp_path):
    run = Run(tmp_path, **{"run.serve_port": 0, "dataset.generator": {"kind": "no_such:Thing"}})
    with pytest.raises(JobError, match=r"run\.serve_port: found with executor: inline"):
        run.call(run.tasks)
