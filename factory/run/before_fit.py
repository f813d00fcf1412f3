"""What is checked of a job before its segmenter is fitted, which can take hours."""

from collections.abc import Callable, Sequence
from typing import Any

from factory.dataset.own_folder import check_new_dataset
from factory.dataset.planned_files import check_files, planned_digests
from factory.dataset.state import check_same_dataset
from factory.plan.rounds import Round, make_plan
from factory.run.backgrounds import check_folder_of_backgrounds
from factory.run.layouts import check_search
from factory.run.opinions import check_others
from factory.spec import JobSpec
from factory.store import Store


def check_before_fit(
    spec: JobSpec,
    store: Store,
    rounds: Sequence[Round],
    identify: Callable[..., dict[str, Any]],
    *,
    is_made: bool = False,
) -> None:
    """Refuse now, and not after hours, a job for another dataset, or whose samples cannot be planned.

    Args:
        spec: The job.
        store: Its output.
        rounds: What is planned there; empty for a new dataset.
        identify: Makes the identity of the job's dataset from the digests of its files.
        is_made: The same dataset lies beside the job, with its layouts and backgrounds.

    Raises:
        JobError: If the job cannot be planned, its layouts cannot be searched, its backgrounds are
            not there, or its output lies in another dataset.
        StoreError: If the output holds another dataset.
        DamageError: If the dataset's segmenter, layouts or backgrounds are damaged.
    """
    theirs = rounds[0].identity if rounds else {}
    if not rounds:
        check_new_dataset(store)
    check_others(spec.dataset)
    before = identify(**planned_digests(theirs))
    make_plan(spec, before, rounds)
    if rounds:
        check_same_dataset(store, before, theirs)
        check_files(store, theirs, may_be_missing=True)
    elif not is_made:
        check_search(spec.dataset)
        check_folder_of_backgrounds(spec.dataset)
