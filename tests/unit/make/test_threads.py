"""The thread that calls, in place of a pool."""

import threading
from concurrent.futures import Future

import pytest

from factory.make.threads import ThisThread, ThreadCounts, open_pools


def test_what_is_given_is_run_at_once_by_the_thread_that_gives_it():
    seen = []

    def noting(word, *, twice):
        seen.append(threading.current_thread())
        return word * 2 if twice else word

    done = ThisThread().submit(noting, "a", twice=True)
    assert isinstance(done, Future)
    assert done.done()
    assert done.result() == "aa"
    assert seen == [threading.current_thread()]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_an_error_is_raised_by_the_result_as_that_of_a_pool(error):
    def failing():
        raise error

    for counts in (ThreadCounts(1, 0), ThreadCounts(2, 0)):
        threads = open_pools(counts, is_gpu=False).compute
        with pytest.raises(type(error)) as caught:
            threads.submit(failing).result()
        assert caught.value is error


@pytest.mark.parametrize(
    ("counts", "is_gpu", "is_alone"),
    [
        ((1, 0), False, True),
        ((1, 0), True, False),
        ((1, 1), False, False),
        ((2, 0), False, False),
    ],
)
def test_one_thread_for_everything_is_for_a_cpu_without_encoders(counts, is_gpu, is_alone):
    pools = open_pools(ThreadCounts(*counts), is_gpu=is_gpu)
    assert isinstance(pools.compute, ThisThread) == is_alone
    assert (pools.pack is None, pools.num_ahead == 0) == (is_alone, is_alone)
    assert (pools.copy is not None) == is_gpu
    assert (pools.encode is not None) == (counts[1] > 0)
