"""The wanted layouts beside a dataset: they must be those that the plan names."""

import hashlib
from collections.abc import Mapping
from typing import Any

from factory.errors import DamageError, Problem
from factory.manifest.paths import LAYOUTS_PATH
from factory.store import Store

_REMEDY = "run the job again, where its layouts are: it writes them anew"


def layouts_digest(identity: Mapping[str, Any]) -> str:
    """SHA-256 of the layouts of the dataset with this identity; empty for one without."""
    section = identity.get("sampling")
    expected = section.get("layouts_sha256") if isinstance(section, Mapping) else None
    return expected if isinstance(expected, str) else ""


def find_layouts_problem(store: Store, identity: Mapping[str, Any]) -> Problem | None:
    """Hold the layouts in `store` against the dataset's identity; None if they are the ones."""
    expected = layouts_digest(identity)
    if not expected:
        return None
    data = store.read(LAYOUTS_PATH)
    if data is None:
        return Problem(LAYOUTS_PATH, "missing", "missing, though the plan names it", _REMEDY)
    digest = hashlib.sha256(data).hexdigest()
    if digest == expected:
        return None
    found = f"sha256 {digest[:16]}, the plan says {expected[:16]}"
    remedy = "`factory repair` removes it; then " + _REMEDY
    return Problem(LAYOUTS_PATH, "changed", found if data else "empty", remedy)


def check_layouts(
    store: Store, identity: Mapping[str, Any], *, may_be_missing: bool = False
) -> None:
    """Require that the layouts in `store` are those that the identity names.

    Raises:
        DamageError: If they are damaged, or missing and may not be.
    """
    problem = find_layouts_problem(store, identity)
    if problem is None or (problem.kind == "missing" and may_be_missing):
        return
    raise DamageError(
        where=f"{store.uri}/{problem.path}",
        found=problem.found,
        remedy=problem.remedy,
        problems=(problem,),
    )
