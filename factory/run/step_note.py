"""Keep in the output that an attempt at a step cannot succeed, so that the next attempt stops at once.

A scheduler such as KubeRay repeats whatever failed and does not see exit codes. An error in the job or
damage in the output (exit codes 2 and 7) would be repeated after each start of a cluster.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from factory.errors import DamageError, FactoryError, JobError
from factory.manifest.paths import step_note_path
from factory.plan.growth import Growth
from factory.provenance import own_version
from factory.spec import JobSpec
from factory.store import Store, open_store

_NOT_MENDED_BY_A_RETRY = (JobError, DamageError)
_BY_CODE = {kind.exit_code: kind for kind in _NOT_MENDED_BY_A_RETRY}


@contextmanager
def noting_attempts(spec: JobSpec, growth: Growth | None) -> Iterator[None]:
    """Context manager of an attempt at a step with a key; without a key it does nothing.

    Raises:
        JobError, DamageError: As the last attempt at this step did, if it was the same job.
    """
    if growth is None or not growth.key:
        yield
        return
    store = _opened(spec)
    if store is not None:
        _stop_at_note(store, spec, growth)
    try:
        yield
    except _NOT_MENDED_BY_A_RETRY as error:
        note = {"job": _digest(spec, growth), "exit_code": error.exit_code, "error": str(error)}
        if store is not None:
            with suppress(FactoryError):  # the error itself matters more
                store.replace(step_note_path(growth.key), (json.dumps(note) + "\n").encode())
        raise


def _stop_at_note(store: Store, spec: JobSpec, growth: Growth) -> None:
    path = step_note_path(growth.key)
    try:
        note = json.loads(store.read(path) or b"{}")
        kind, text = _BY_CODE[note["exit_code"]], str(note["error"])
        is_same = note["job"] == _digest(spec, growth)
    except (FactoryError, ValueError, KeyError, TypeError):
        return  # no note, or none that says anything
    if is_same:
        raise kind(
            where=f"--once {growth.key}",
            found=f"the last attempt at this step ended with exit code {kind.exit_code} ({text})",
            remedy=f"mend it, then change the job or remove {store.uri}/{path}, and run it again",
        )


def _opened(spec: JobSpec) -> Store | None:
    try:
        return open_store(spec.output.uri, single_writer=spec.output.single_writer)
    except FactoryError:  # the run itself says why
        return None


def _digest(spec: JobSpec, growth: Growth) -> str:
    """What has to be the same for the same error: the job, its step, and this version."""
    text = f"{own_version()} {growth.num_samples} {spec.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()
