"""The fitted segmenter beside a dataset: it must be the one that the plan names."""

import hashlib
from collections.abc import Mapping
from typing import Any

from factory.errors import DamageError, Problem, StoreError
from factory.manifest.paths import SEGMENTER_PATH
from factory.store import Store


def find_segmenter_problem(store: Store, identity: Mapping[str, Any]) -> Problem | None:
    """Hold the segmenter in `store` against the dataset's identity; None if it is the one.

    A dataset whose method fits nothing has none.
    """
    section = identity.get("segmenter")
    expected = section.get("sha256") if isinstance(section, Mapping) else None
    if not expected:
        return None
    data = store.read(SEGMENTER_PATH)
    if data is None:
        remedy = "run the job again: it is fitted anew"
        return Problem(SEGMENTER_PATH, "missing", "missing, though the plan names it", remedy)
    digest = hashlib.sha256(data).hexdigest()
    if digest == expected:
        return None
    is_text = isinstance(expected, str)
    found = f"sha256 {digest[:16]}, the plan says {expected[:16] if is_text else 'none'}"
    remedy = "`factory repair` removes it, and the next run fits it anew"
    return Problem(SEGMENTER_PATH, "changed", found if data else "empty", remedy)


def check_segmenter(
    store: Store, identity: Mapping[str, Any], *, may_be_missing: bool = False
) -> None:
    """Require that the segmenter in `store` is the one that the identity names.

    Raises:
        DamageError: If it is damaged, or missing and may not be.
    """
    problem = find_segmenter_problem(store, identity)
    if problem is None or (problem.kind == "missing" and may_be_missing):
        return
    repair = f"`factory repair {store.uri}` removes it, then run the job again: it is fitted anew"
    raise DamageError(
        where=f"{store.uri}/{problem.path}",
        found=problem.found,
        remedy=problem.remedy if problem.kind == "missing" else repair,
        problems=(problem,),
    )


def other_fit(store: Store, digest: str) -> StoreError:
    """The error of a run that had to fit a segmenter again, and got another one than the plan names."""
    return StoreError(
        where=f"{store.uri}/{SEGMENTER_PATH}",
        found=f"missing, and a fit on this machine gives another one (sha256 {digest[:16]})",
        allowed="a dataset has one segmenter",
        remedy="restore the file, or run with the libraries and the device that the receipts name, or "
        "choose another output.uri",
    )
