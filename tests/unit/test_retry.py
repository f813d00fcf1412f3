import pytest

from factory.errors import (
    DamageError,
    FactoryError,
    IncompleteError,
    Interrupted,
    JobError,
    PluginError,
    RetryableError,
    ShardError,
    StoreError,
    WeightsError,
)
from factory.run.drive import describe
from factory.run.retry import HOPELESS, may_pass


@pytest.mark.parametrize(
    "error", [RetryableError("x"), RuntimeError("x"), OSError("x"), MemoryError(), KeyError("x")]
)
def test_what_may_pass_is_tried_again(error):
    assert may_pass(error)


@pytest.mark.parametrize(
    "kind",
    [ShardError, FactoryError, JobError, WeightsError, PluginError, StoreError, DamageError,
     IncompleteError, Interrupted],
)  # fmt: skip
def test_what_will_repeat_is_not_tried_again(kind):
    assert not may_pass(kind("x"))


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
    assert isinstance(kind("x"), HOPELESS) is hopeless


def test_an_error_is_described_by_its_type_and_last_line():
    assert describe(ValueError("a\nb \n")) == "ValueError: b"
    assert describe(RuntimeError()) == "RuntimeError: no message"
