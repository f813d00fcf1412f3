"""A lease (advisory lock) for outputs whose store cannot create exclusively.

Such a store cannot guarantee mutual exclusion: two runs that start within the same second may both
see no lease. The lease catches the usual case, a second run that was started by mistake.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import ValidationError

from factory.errors import StoreError
from factory.manifest.labels import Facts
from factory.manifest.paths import LEASE_PATH
from factory.manifest.versions import read_file_of
from factory.provenance import run_is_dead
from factory.store import Store

_RENEW_S = 60.0
# Ten missed renewals: a store that is unreachable for minutes does not lose a live run its lease.
_STALE_S = 600.0


class Lease(Facts):
    """The content of `lease.json`: which run is writing."""

    schema_version: int = 1
    """Version of this layout."""
    run_id: str
    """The writing run: host, process and a random part."""
    renewed_at: float
    """Seconds since 1970, by that host's clock; 0 = released."""


@contextmanager
def holding_lease(store: Store, run_id: str, *, needed: bool) -> Iterator[None]:
    """Context manager that holds the lease of `store`, if it is needed, and renews it.

    Raises:
        StoreError: If another run holds it.
    """
    if not needed:
        yield
        return
    holder = _holder(store)
    if holder is not None and holder.run_id != run_id:
        raise StoreError(
            f"{store.uri}: run {holder.run_id} is writing here, and output.single_writer allows one at "
            f"a time; wait for it, or, if it is dead, until its lease expires ({_STALE_S:g} s)"
        )
    _write(store, run_id, time.time())
    over = threading.Event()
    thread = threading.Thread(target=_renew, args=(store, run_id, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _write(store, run_id, 0.0)


def _holder(store: Store) -> Lease | None:
    data = store.read(LEASE_PATH)
    if data is None:
        return None
    try:
        lease = read_file_of(Lease, data, source=f"{store.uri}/{LEASE_PATH}")
    except ValidationError:
        return None  # unreadable lease: treat as absent
    is_over = time.time() - lease.renewed_at > _STALE_S or run_is_dead(lease.run_id)
    return None if is_over else lease


def _renew(store: Store, run_id: str, over: threading.Event) -> None:
    while not over.wait(_RENEW_S):
        with suppress(StoreError):  # the run itself will report it
            _write(store, run_id, time.time())


def _write(store: Store, run_id: str, now: float) -> None:
    lease = Lease(run_id=run_id, renewed_at=now)
    store.replace(LEASE_PATH, (lease.model_dump_json(indent=1) + "\n").encode())
