"""Which split a shard belongs to: a function of its position in the dataset, and of nothing else.

Positions are dealt out evenly, so that the shares are met after any number of shards to within one
shard, and a dataset that grows never moves a sample to another split.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from factory.errors import JobError
from factory.identity import shard_name
from factory.manifest.paths import SPLITS, TRAIN
from factory.spec.splits import SplitsSpec

_HALF = Fraction(1, 2)
"""Shares are rounded, not cut off: no split is then more than a shard away from its share."""


@dataclass(frozen=True, slots=True)
class Splits:
    """The splits of a dataset."""

    test: Fraction
    """Share of all shards."""
    val: Fraction
    """Share of the shards that are not in `test`."""

    def count(self, num_shards: int) -> dict[str, int]:
        """How many of the first `num_shards` shards each split gets."""
        num_test = _num_dealt(self.test, num_shards)
        num_val = _num_dealt(self.val, num_shards - num_test)
        return {TRAIN: num_shards - num_test - num_val, "val": num_val, "test": num_test}

    def place(self, shard_index: int) -> tuple[str, int]:
        """The split of a shard, and its number among the shards of that split, from 0."""
        before, after = self.count(shard_index), self.count(shard_index + 1)
        split = next(name for name in SPLITS if after[name] > before[name])
        return split, before[split]

    def empty(self, num_shards: int) -> list[str]:
        """The splits that have a share and get none of the first `num_shards` shards."""
        shares = {TRAIN: 1, "val": self.val, "test": self.test}
        return [
            name for name, count in self.count(num_shards).items() if shares[name] and not count
        ]

    def least_shards(self) -> int:
        """The number of shards from which on no split that has a share is empty."""
        enough = 1
        while self.empty(enough):
            enough *= 2
        return bisect_left(range(enough), 1, key=lambda count: int(not self.empty(count)))


def _num_dealt(share: Fraction, count: int) -> int:
    """How many of the first `count` positions a share gets."""
    return math.floor(count * share + _HALF)


@lru_cache(maxsize=64)
def _make(train: float, val: float, test: float) -> Splits:
    # As written, in decimals: 0.05 as a binary fraction would deal the 20th shard out differently.
    shares = [Fraction(str(share)) for share in (train, val, test)]
    test_share = shares[2] / sum(shares)
    rest = shares[0] + shares[1]
    return Splits(test_share, shares[1] / rest)


def find_splits(identity: Mapping[str, Any]) -> Splits | None:
    """The splits in a dataset's identity; None if all its samples are for training.

    Raises:
        ValueError: If they are none; datasets of unknown origin may hold anything.
    """
    section = identity.get("splits")
    if section is None:
        return None
    try:
        spec = SplitsSpec.model_validate(section)
    except ValidationError as error:
        raise ValueError("its identity has splits that are none") from error
    return _make(spec.train, spec.val, spec.test)


def place_shard(name: str, shard_index: int, splits: Splits | None) -> tuple[str, str]:
    """(name without ending, split) of a shard of the dataset `name`.

    Numbers have no gaps within a split, because readers name shards by ranges; names differ between
    splits, because quarantine and logs go by them.
    """
    if splits is None:
        return shard_name(name, shard_index), TRAIN
    split, number = splits.place(shard_index)
    return name_in_split(name, split, number), split


def name_in_split(name: str, split: str, number: int) -> str:
    """Name of a shard by its number in its split."""
    return shard_name(name if split == TRAIN else f"{name}-{split}", number)


def check_splits_filled(splits: Splits | None, num_shards: int, num_samples: int) -> None:
    """Require that each split gets at least one shard.

    Raises:
        JobError: If a dataset of so many shards and samples leaves one without.
    """
    if splits is None or not (empty := splits.empty(num_shards)):
        return
    needed = splits.least_shards()
    most = num_samples // needed
    remedy = (
        f"set dataset.samples_per_shard to at most {most:,}"
        if most
        else f"raise dataset.num_samples to at least {needed:,}"
    )
    raise JobError(
        where="dataset.splits",
        found=f"{num_shards:,} shards leave {' and '.join(empty)} without a sample",
        allowed=f"at least {needed:,} shards, because a shard is in one split as a whole",
        remedy=remedy,
    )
