"""Push a dataset's metrics to a Prometheus Pushgateway during a run, for runs without a service."""

import logging
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from factory.errors import FactoryError
from factory.log import log_event
from factory.run.notify import send
from factory.serve.metrics import CONTENT_TYPE, encode_metrics
from factory.serve.view import DatasetView
from factory.store import Store

PUSH_EVERY_S = 60.0


class MetricsPusher:
    """Pushes what a store's receipts say, and with the last push how the run ended."""

    def __init__(self, gateway: str, store: Store, name: str) -> None:
        """Push to `gateway`, in the group of the dataset `name`."""
        self._url = f"{gateway.rstrip('/')}/metrics/job/maskfactory/dataset/{name}"
        self._view = DatasetView(store)
        self._has_failed = False

    def push(self, exit_code: int | None = None, finished_s: float = 0.0) -> str:
        """Push once, in place of what was pushed before; returns why it failed, or nothing.

        Args:
            exit_code: How the run ended; None while it runs.
            finished_s: When, in seconds since 1970.

        Returns:
            The reason, without the address.
        """
        try:
            text = encode_metrics(self._view.snapshot())
        except FactoryError:
            text = ""
            if exit_code is None:
                return "no metrics yet: no round is planned, or the store does not answer"
        if exit_code is not None:
            text += (
                "# HELP factory_run_exit_code Exit code of the latest run.\n"
                f"# TYPE factory_run_exit_code gauge\nfactory_run_exit_code {exit_code}\n"
                "# HELP factory_run_finished_seconds When it ended, in seconds since 1970.\n"
                "# TYPE factory_run_finished_seconds gauge\n"
                f"factory_run_finished_seconds {finished_s:.0f}\n"
            )
        request = urllib.request.Request(self._url, text.encode(), method="PUT")  # noqa: S310 - web addresses only
        request.add_header("Content-Type", CONTENT_TYPE)
        return send(request, pauses_s=(1.0,) if exit_code is not None else ())

    def push_or_warn(self, exit_code: int | None = None) -> None:
        """Push, and log the first failure: a gateway that is away must not fill the log."""
        reason = self.push(exit_code, time.time())
        if reason and not self._has_failed and not reason.startswith("no metrics yet"):
            self._has_failed = True
            log_event("push_failed", level=logging.WARNING, reason=reason)


@contextmanager
def pushing(pusher: MetricsPusher, every_s: float = PUSH_EVERY_S) -> Iterator[None]:
    """Context manager that pushes every so many seconds in a background thread."""
    stop = threading.Event()

    def push_until_stopped() -> None:
        while not stop.wait(every_s):
            pusher.push_or_warn()

    thread = threading.Thread(target=push_until_stopped, name="push-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
