"""A dataset that lacks planned shards is used as it is, and a line of the log says how much is there."""

from logging import WARNING

from factory.dataset.state import find_plan
from factory.log import log_event
from factory.manifest.records import Manifest
from factory.store import Store


def tell_incomplete(store: Store, manifest: Manifest) -> None:
    """Log how many of the planned samples a dataset has, if shards of its plan are missing.

    Samples that a run rejected are not missing: their shards are there.

    Raises:
        StoreError: If the plan is damaged, or the store cannot be read.
    """
    if (
        manifest.num_samples >= manifest.num_planned
    ):  # the plan itself is read only if it can matter
        return
    num_shards = find_plan(store).num_shards
    if len(manifest.records) < num_shards:
        log_event(
            "dataset_incomplete",
            level=WARNING,
            dataset=store.uri,
            samples=f"{manifest.num_samples}/{manifest.num_planned}",
            shards=f"{len(manifest.records)}/{num_shards}",
            remedy="only these are used; the run that made them, started again, makes the others",
        )
