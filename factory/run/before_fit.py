"""What is checked of a job before its segmenter is fitted, which can take hours."""

from collections.abc import Callable, Sequence
from typing import Any

from factory.dataset.state import check_same_dataset
from factory.dataset.stored_layouts import check_layouts, layouts_digest
from factory.dataset.stored_segmenter import check_segmenter
from factory.plan.rounds import Round, make_plan
from factory.run.layouts import check_search
from factory.spec import JobSpec
from factory.store import Store


def check_before_fit(
    spec: JobSpec,
    store: Store,
    rounds: Sequence[Round],
    identify: Callable[..., dict[str, Any]],
) -> None:
    """Refuse now, and not after hours, a job for another dataset, or whose samples cannot be planned.

    Args:
        spec: The job.
        store: Its output.
        rounds: What is planned there; empty for a new dataset.
        identify: Makes the identity of the job's dataset from the digests of segmenter and layouts.

    Raises:
        JobError: If the job cannot be planned, or its layouts cannot be searched.
        StoreError: If the output holds another dataset.
        DamageError: If the dataset's segmenter or layouts are damaged.
    """
    theirs = rounds[0].identity if rounds else {}
    fitted = theirs.get("segmenter", {}).get("sha256", "")
    before = identify(segmenter_sha256=fitted, layouts_sha256=layouts_digest(theirs))
    make_plan(spec, before, rounds)
    if rounds:
        check_same_dataset(store, before, theirs)
        check_segmenter(store, theirs, may_be_missing=True)
        check_layouts(store, theirs, may_be_missing=True)
    else:
        check_search(spec.dataset)
