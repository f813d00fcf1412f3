"""Plan what a job adds to its output: a round belongs to the driver that creates its file first."""

from collections.abc import Sequence
from typing import Any

from factory.dataset.state import check_same_dataset, find_rounds
from factory.errors import StoreError
from factory.log import log_event
from factory.manifest.paths import round_path
from factory.plan.growth import Growth, grow
from factory.plan.rounds import Plan, Round, encode_round, make_plan
from factory.spec import JobSpec
from factory.store import Store


def claim_round(
    store: Store,
    spec: JobSpec,
    identity: dict[str, Any],
    rounds: Sequence[Round],
    growth: Growth | None,
) -> tuple[JobSpec, Plan]:
    """Create the job's next round after `rounds`, or plan on top of another driver's that was first.

    Args:
        store: The job's output.
        spec: The job.
        identity: The identity of its dataset.
        rounds: What is planned there, as far as it was read.
        growth: The step by which the dataset grows; None = to the job's `num_samples`.

    Returns:
        The job, with the number of samples that `growth` has come to, and the plan.

    Raises:
        JobError: If it asks for less than is planned, or its step was planned with another size.
        StoreError: If another driver has made another dataset there meanwhile.
    """
    while True:
        # A step that another driver has planned meanwhile is found in the rounds that were read again.
        grown = grow(spec, rounds, growth)
        plan = make_plan(grown, identity, rounds, step=growth.key if growth else "")
        if len(plan.rounds) == len(rounds):
            if growth and growth.key:
                log_event("planned_before", step=growth.key, samples=grown.dataset.num_samples)
            return grown, plan
        newest = plan.rounds[-1]
        if store.create(round_path(newest.round_index), encode_round(newest)):
            log_event("planned", round=newest.round_index, samples=newest.num_samples)
            return grown, plan
        rounds = find_rounds(store, rounds)
        if not rounds:
            raise StoreError(
                f"{store.uri}: a round of the plan exists, but cannot be read back; run the job again"
            )
        check_same_dataset(store, identity, rounds[0].identity)
