import os
import signal
import threading

import pytest

from factory.run.signals import stop_on_signals

BOTH = [signal.SIGINT, signal.SIGTERM]


def handlers():
    return [signal.getsignal(number) for number in BOTH]


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_asks_to_stop_and_the_handlers_are_restored(number):
    before = handlers()
    stop = threading.Event()
    with stop_on_signals(stop):
        assert handlers() != before
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
    assert handlers() == before


def test_a_second_interrupt_ends_at_once_and_restores_the_handlers():
    before = handlers()
    stop = threading.Event()

    def interrupted_twice():
        with stop_on_signals(stop):
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(5)
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(5)

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert handlers() == before


def test_a_second_terminate_goes_on_stopping():
    stop = threading.Event()
    with stop_on_signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)


def test_handlers_are_restored_after_an_error():
    before = handlers()
    with pytest.raises(RuntimeError, match="boom"), stop_on_signals(threading.Event()):
        raise RuntimeError("boom")
    assert handlers() == before


def test_outside_the_main_thread_nothing_is_touched():
    before = handlers()
    seen = []

    def work():
        with stop_on_signals(threading.Event()):
            seen.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
