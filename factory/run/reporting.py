"""Report how a run ended: to the address of `run.notify`, and to a Pushgateway. It never fails a run."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from factory.dataset.state import progress_of
from factory.dataset.stored_records import find_stored_state
from factory.errors import FactoryError, Interrupted, kind_in_words
from factory.log import log_event
from factory.manifest.records import Manifest
from factory.plan.targets import judge_targets
from factory.provenance import own_version
from factory.run.notify import Event, encode_event, post_event, resolve_address
from factory.run.push import MetricsPusher, pushing
from factory.spec import JobSpec
from factory.store import open_store


class RunReport:
    """Where the end of a run is reported."""

    def __init__(self, spec: JobSpec) -> None:
        """Find the addresses.

        Raises:
            JobError: If one is in an environment variable that is not set.
        """
        self._spec = spec
        self._address = resolve_address(spec.run.notify, "run.notify")
        self._gateway = resolve_address(spec.run.push_metrics, "run.push_metrics")

    def pusher(self) -> MetricsPusher | None:
        """What pushes metrics; None if the job names no gateway."""
        if not self._gateway:
            return None
        try:
            store = open_store(self._spec.output.uri, single_writer=self._spec.output.single_writer)
        except FactoryError:  # the run says why, in a moment
            return None
        return MetricsPusher(self._gateway, store, self._spec.name)

    def completed(self, manifest: Manifest) -> None:
        """The run is complete; targets that cannot be met are told first."""
        if not self._address:
            return
        facts = {
            "dataset_id": manifest.dataset_id,
            "samples": manifest.num_samples,
            "planned": manifest.num_planned,
            "shards": len(manifest.records),
        }
        missed = self._missed_targets()
        if missed:
            names = ", ".join(target["name"] for target in missed)
            told = f"cannot be met within the budget: {names}"
            self._tell("target_missed", facts | {"targets": missed, "message": told})
        message = f"{manifest.num_samples:,} pairs in {len(manifest.records):,} shards"
        self._tell("complete", facts | {"exit_code": 0, "message": message})

    def ended(self, error: BaseException) -> int:
        """The run has failed or was stopped; returns its exit code."""
        is_stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
        code = error.exit_code if isinstance(error, FactoryError) else 1
        code = Interrupted.exit_code if is_stopped else code
        if self._address:
            text = str(error) if isinstance(error, FactoryError) else kind_in_words(error)
            facts = {"exit_code": code, "message": text}
            # Who is told to stop has seconds left, and not a minute.
            self._tell("stopped" if is_stopped else "failed", facts, is_urgent=is_stopped)
        return code

    def _tell(self, event: Event, facts: Mapping[str, Any], *, is_urgent: bool = False) -> None:
        shared: dict[str, Any] = {
            "name": self._spec.name,
            "output": self._spec.output.uri,
            "sent_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "maskfactory": own_version(),
        }
        body = encode_event(event, {**shared, **facts})
        reason = (
            post_event(self._address, body, pauses_s=())
            if is_urgent
            else post_event(self._address, body)
        )
        if reason:
            log_event("notify_failed", level=logging.WARNING, event_kind=event, reason=reason)

    def _missed_targets(self) -> list[dict[str, Any]]:
        if self._spec.dataset.coverage is None:
            return []
        try:
            store = open_store(self._spec.output.uri)
            progress = progress_of(store, find_stored_state(store))
        except FactoryError:
            return []
        targets = judge_targets(progress) if progress else []
        return [
            {"name": t.name, "wanted": t.wanted, "have": t.have, "why": t.why}
            for t in targets
            if t.state != "met"
        ]


@contextmanager
def reporting(spec: JobSpec) -> Iterator[RunReport]:
    """Context manager of a run, which reports its end; `completed` is the caller's to call.

    Raises:
        JobError: If an address is in an environment variable that is not set.
    """
    report = RunReport(spec)
    pusher = report.pusher()
    code = 0
    try:
        with ExitStack() as stack:
            if pusher is not None:
                stack.enter_context(pushing(pusher))
            yield report
    except BaseException as error:
        code = report.ended(error)
        raise
    finally:
        if pusher is not None:
            pusher.push_or_warn(code)
