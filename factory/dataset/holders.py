"""Find samples that count for a coverage target: their masks are the layouts that a search wants."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from factory.dataset.facts_table import read_facts_tables
from factory.dataset.state import DatasetState
from factory.manifest.paths import split_of
from factory.plan.targets import Target
from factory.store import Store

_LOOKED_AT = 256
_MOST = 32


def find_holders(store: Store, state: DatasetState, target: Target) -> tuple[int, ...]:
    """The indices of up to 32 samples of each split that count for `target`, in order; maybe none.

    Of the first 256, those with the largest share of the class: a search comes close to its layout, and
    seldom beyond. Samples that were searched themselves are left out.

    Args:
        store: The dataset's store.
        state: Its plan and receipts.
        target: A class of the masks.

    Raises:
        DamageError: If a table is missing or damaged.
    """
    assert target.mask_class is not None
    searched = {r.round_index for r in state.plan.rounds if r.steering and r.steering.search}
    shares: dict[str, dict[int, float]] = defaultdict(dict)
    for record in state.records:
        if record.round_index in searched or record.coverage is None:
            continue
        if not target.count(record.coverage):
            continue
        table = read_facts_tables(store, [record], ["index", "class_px", "width", "height"])
        for row in table.to_pylist():
            share = row["class_px"][target.mask_class] / (row["width"] * row["height"])
            if share > 0 and share >= target.min_area:
                shares[split_of(record.path)][row["index"]] = share
        if sum(map(len, shares.values())) >= _LOOKED_AT:
            break
    return tuple(sorted(index for inside in shares.values() for index in _largest(inside)))


def _largest(shares: Mapping[int, float]) -> list[int]:
    order = np.lexsort((list(shares), [-share for share in shares.values()]))
    indices = list(shares)
    return [indices[place] for place in order[:_MOST]]
