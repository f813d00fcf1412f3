import pytest

from factory.errors import (
    DamageError,
    FactoryError,
    IncompleteError,
    Interrupted,
    JobError,
    PluginError,
    PreemptedError,
    RetryableError,
    ShardError,
    StoreError,
    WeightsError,
)
from factory.run.drive import describe
from factory.run.retry import FATAL, counts_as_attempt, is_last_attempt, is_transient


@pytest.mark.parametrize(
    "error", [RetryableError("x"), RuntimeError("x"), OSError("x"), MemoryError(), KeyError("x")]
)
def test_what_may_pass_is_tried_again(error):
    assert is_transient(error)


@pytest.mark.parametrize(
    "kind",
    [ShardError, FactoryError, JobError, WeightsError, PluginError, StoreError, DamageError,
     IncompleteError, Interrupted],
)  # fmt: skip
def test_what_will_repeat_is_not_tried_again(kind):
    assert not is_transient(kind("x"))


@pytest.mark.parametrize(
    ("kind", "hopeless"),
    [
        (JobError, True),
        (WeightsError, True),
        (PluginError, True),
        (StoreError, True),
        (Interrupted, True),
        (ShardError, False),
        (RetryableError, False),
        (RuntimeError, False),
    ],
)
def test_a_run_ends_at_once_only_for_what_no_shard_can_overcome(kind, hopeless):
    assert isinstance(kind("x"), FATAL) is hopeless


@pytest.mark.parametrize(
    ("error", "num_failed", "over"),
    [
        (RuntimeError("a bug"), 2, False),
        (RuntimeError("a bug"), 3, True),
        (RetryableError("its worker died"), 4, False),
        (RetryableError("its worker died"), 5, True),
        (ShardError("will repeat"), 1, True),
        (PreemptedError("its node left"), 0, False),
    ],
)
def test_an_error_ends_a_shard_sooner_than_deaths_of_its_worker(error, num_failed, over):
    assert is_last_attempt(error, num_failed) is over


def test_only_a_node_that_leaves_says_nothing_about_the_shard():
    assert not counts_as_attempt(PreemptedError("x"))
    assert all(
        counts_as_attempt(error)
        for error in (RetryableError("x"), RuntimeError("x"), ShardError("x"))
    )


def test_an_error_is_described_by_its_type_and_last_line():
    assert describe(ValueError("a\nb \n")) == "ValueError: b"
    assert describe(RuntimeError()) == "RuntimeError: no message"
