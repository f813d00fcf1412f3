"""Plan the next round for a job's coverage targets, and find what is needed for it in the dataset."""

from functools import partial

from factory.dataset.holders import find_holders
from factory.dataset.state import DatasetState, progress_of
from factory.generate import GENERATORS
from factory.plan.next_round import next_round
from factory.plan.rounds import Round
from factory.segment.methods import find_method, import_part
from factory.spec import DatasetSpec
from factory.store import Store


def plan_for_targets(dataset: DatasetSpec, store: Store, state: DatasetState) -> Round | None:
    """Plan the next round for the coverage targets; None if all are met or out of reach.

    Args:
        dataset: The job's dataset.
        store: Where it is.
        state: Its plan and receipts; all shards are there.

    Raises:
        DamageError: If a table that tells of samples is missing or damaged.
    """
    progress = progress_of(store, state)
    if progress is None:
        return None
    holders = partial(find_holders, store, state) if may_search(dataset) else None
    return next_round(state.plan, progress, oversample=dataset.oversample, find_holders=holders)


def may_search(dataset: DatasetSpec) -> bool:
    """Whether samples for a coverage target may be searched: it is not forbidden, and can be done.

    A function that makes a generator or a segmenter does not tell whether that has gradients: no.
    """
    if dataset.coverage is None or not dataset.coverage.search:
        return False
    # They are searched or edited already, or their masks are not the segmenter's alone.
    if dataset.sampling is not None or dataset.edit is not None or dataset.compose is not None:
        return False
    # A search needs several latents of a sample, and masks without instances.
    if dataset.latents.draw == "nvidia_seed" or getattr(dataset.segmenter, "instances", None):
        return False
    kind = dataset.segmenter.kind
    segmenter = import_part(kind, find_method(kind).segmenter)
    generator = GENERATORS.load(dataset.generator.kind)
    return hasattr(generator, "render") and hasattr(segmenter, "class_scores")
