"""A lease on an output whose store cannot create exclusively: one run at a time writes there.

Such a store cannot make it certain: two runs that begin within the same second may both see no lease.
It tells a person who starts a second run by mistake, which is what happens.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import ValidationError

from factory.errors import StoreError
from factory.manifest.labels import Facts
from factory.manifest.paths import LEASE_PATH
from factory.provenance import run_is_dead
from factory.store import Store

_RENEW_S = 60.0
_STALE_S = 600.0


class Lease(Facts):
    """Who writes, as kept in `lease.json`."""

    schema_version: int = 1
    """Version of this layout."""
    run_id: str
    """The run that writes: host, process and a random part."""
    renewed_at: float
    """Seconds since 1970, by that host's clock; 0 = given back."""


@contextmanager
def holding_lease(store: Store, run_id: str, *, needed: bool) -> Iterator[None]:
    """Hold the lease of `store` while the context lasts, if it is needed.

    Raises:
        StoreError: If another run holds it.
    """
    if not needed:
        yield
        return
    holder = _holder(store)
    if holder is not None and holder.run_id != run_id:
        raise StoreError(
            f"{store.uri}: run {holder.run_id} writes here, and output.single_writer allows one at a "
            f"time; wait for it, or, if it is dead, for {_STALE_S:g} s after its last sign of life"
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
        lease = Lease.model_validate_json(data)
    except ValidationError:
        return None  # half a lease is nobody's
    is_over = time.time() - lease.renewed_at > _STALE_S or run_is_dead(lease.run_id)
    return None if is_over else lease


def _renew(store: Store, run_id: str, over: threading.Event) -> None:
    while not over.wait(_RENEW_S):
        with suppress(StoreError):  # the run itself will say so
            _write(store, run_id, time.time())


def _write(store: Store, run_id: str, now: float) -> None:
    lease = Lease(run_id=run_id, renewed_at=now)
    store.replace(LEASE_PATH, (lease.model_dump_json(indent=1) + "\n").encode())
