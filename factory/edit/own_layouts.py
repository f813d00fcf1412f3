"""Layouts that are masks of samples of the dataset itself: what a search for a coverage target wants."""

from collections.abc import Sequence

from factory.dataset.finder import SampleFinder
from factory.dataset.receipts import find_record
from factory.dataset.state import find_plan
from factory.edit.layouts import Layouts, check_layout
from factory.errors import DamageError
from factory.identity import sample_key
from factory.pack.image import decode_mask
from factory.store import Store

_MASK = "mask.png"


def read_own_layouts(
    store: Store, indices: Sequence[int], split: str, *, num_classes: int, side: int
) -> Layouts | None:
    """Read the masks of committed samples as layouts, in the order of `indices`; their keys are names.

    Those of other splits are left out: a held-out sample with the layout of a training sample would be
    easier than a new one.

    Returns:
        The layouts; None if no sample is in `split`.

    Raises:
        DamageError: If one is missing or damaged.
    """
    plan, finder = find_plan(store), SampleFinder(store)
    names, files = [], []
    for index in indices:
        task = plan.owner_of(index)
        if task is not None and task.split != split:
            continue
        record = find_record(store, task) if task is not None else None
        found = finder.find(record, index) if record is not None else None
        mask = found.files.get(_MASK) if found is not None else None
        where = f"{store.uri}: sample {sample_key(index)}"
        if mask is None:
            raise DamageError(
                where=where,
                found="not there, though the plan takes its mask for a layout",
                remedy="restore its shard, or run the job again, which makes it anew",
            )
        try:
            check_layout(decode_mask(mask), num_classes, side)
        except ValueError as error:
            raise DamageError(
                where=where,
                found=f"its mask is no layout ({error})",
                remedy="`factory verify --deep`",
            ) from error
        names.append(sample_key(index))
        files.append(mask)
    return Layouts(tuple(names), tuple(files)) if files else None
