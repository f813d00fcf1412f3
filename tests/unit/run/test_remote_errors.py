import pickle

import pytest

from factory.errors import FactoryError, WeightsError
from factory.run.remote_errors import BuildResult, start_error


def fail():
    raise WeightsError(where="weights", found="factory.errors.JobError: x", remedy="fetch them")


def test_what_was_built_is_handed_out():
    assert BuildResult(lambda: 7).get() == 7
    assert BuildResult(lambda: None).get() is None


def test_what_could_not_be_built_is_told_by_every_call_as_what_it_was():
    attempt = BuildResult(fail)
    for _ in range(2):
        with pytest.raises(WeightsError) as caught:
            attempt.get()
        assert caught.value.remedy == "fetch them"


def test_a_request_to_stop_is_no_error_of_the_build():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BuildResult(stop)


def test_an_error_of_ours_is_handed_on_and_another_one_is_explained():
    ours = pickle.loads(pickle.dumps(WeightsError("gone")))
    assert start_error(ours) is ours
    other = start_error(ZeroDivisionError("at 5"))
    assert type(other) is FactoryError
    assert str(other) == (
        "run: a worker could not start (ZeroDivisionError: at 5); mend the cause, then run the job "
        "again"
    )
