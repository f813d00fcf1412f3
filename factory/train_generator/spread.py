"""Error bars of scores: the same generator scored several times, each time by another judge.

A judge is a network trained from a random start, and it sees a random choice of samples and of real
pictures: all three move the scores. Their standard deviation over repeats says how far another run, or
another processor, may differ.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from factory.train_generator.samples import Scores, mean_scores


@dataclass(frozen=True, slots=True)
class Spread:
    """The scores of one class over several repeats."""

    mean: Scores
    """Their mean."""
    deviation: Scores
    """Their standard deviation (of a sample: divided by the repeats less one); 0 for a single repeat."""


def spread_of(repeats: Sequence[dict[str, Scores]]) -> dict[str, Spread]:
    """The spread of each class over `repeats` (at least one), and under `mean` that of their mean."""
    rows = [{**found, "mean": mean_scores(found)} for found in repeats]
    return {name: _spread([row[name] for row in rows]) for name in rows[0]}


def _spread(scores: Sequence[Scores]) -> Spread:
    table = np.array([astuple(score) for score in scores])
    deviation = table.std(axis=0, ddof=1) if len(table) > 1 else np.zeros(table.shape[1])
    return Spread(Scores(*table.mean(axis=0).tolist()), Scores(*deviation.tolist()))
