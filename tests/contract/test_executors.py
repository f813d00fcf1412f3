"""Every executor keeps the promise of `run/base.py`: the same call, checked by its signature.

What it does with the call is tested where it runs: `tests/unit/run`, `tests/fault`.
"""

import inspect

import pytest

from factory.run import EXECUTORS
from factory.run.base import Executor, load_executor


@pytest.mark.parametrize("name", EXECUTORS)
def test_an_executor_is_called_as_the_promise_says(name):
    promised = inspect.signature(Executor.__call__)
    own = inspect.signature(load_executor(name))
    assert list(own.parameters.values()) == list(promised.parameters.values())[1:]
    assert own.return_annotation == promised.return_annotation
