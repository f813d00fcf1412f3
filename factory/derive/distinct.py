"""Require that the sources of a merged dataset share no sample, and that it is written beside them."""

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

from factory.dataset.own_folder import enclosing_dataset
from factory.derive.rule import Rule, Source
from factory.errors import DamageError, JobError
from factory.manifest.parquet import read_table
from factory.manifest.paths import ORIGINS_PATH
from factory.store import LocalStore, Store

Origins = dict[str, np.ndarray]
"""Indices of samples (int64) by the dataset that they were copied from."""


def check_output(output: Store, sources: Sequence[Store]) -> None:
    """Require that a new dataset is written over none of its sources, and not below any dataset.

    Raises:
        JobError: If it would be.
    """
    places = {_place(store) for store in sources}
    place = _place(output)
    if place in places:
        raise JobError(where="output", found=f"found {output.uri}", allowed="none of the sources")
    is_below = any(place.startswith(f"{other}/") for other in places)
    if isinstance(output, LocalStore):
        is_below |= enclosing_dataset(Path(place).parent) is not None
    if is_below:
        raise JobError(
            where="output",
            found=f"{output.uri} lies in a dataset",
            remedy="choose a place outside of it",
        )


def check_distinct(sources: Sequence[Source], rule: Rule) -> None:
    """Require that no sample is in two sources, as itself or as a copy: it would count twice.

    Copies are looked for one step back: a subset knows what it was taken from, and not what that was.
    Under a rule that drops repeats they may be shared, as one of each stays.

    Raises:
        JobError: If one is.
        DamageError: If the table of a dataset's origins cannot be read.
    """
    for first, other in combinations(sources, 2):
        if first.manifest.dataset_id == other.manifest.dataset_id:
            raise JobError(
                where=other.store.uri,
                found=f"the dataset {other.manifest.dataset_id}, as {first.store.uri} is",
                allowed="each dataset once",
                remedy="leave one of the two out",
            )
    if rule.without_repeats or len(sources) < 2:
        return
    origins = [_read_origins(source) for source in sources]
    for (first, its), (other, others) in combinations(zip(sources, origins, strict=True), 2):
        if num_shared := _count_shared(first, its, other, others):
            raise JobError(
                where=other.store.uri,
                found=f"{num_shared:,} of its samples are copies of the same ones in {first.store.uri}",
                remedy="add --without-repeats, or leave one of the two out",
            )


def _place(store: Store) -> str:
    """Where a dataset lies, however its address is written."""
    return os.path.realpath(store.root) if isinstance(store, LocalStore) else store.uri.rstrip("/")


def _count_shared(first: Source, its: Origins, other: Source, others: Origins) -> int:
    count = len(others.get(first.manifest.dataset_id, ()))
    count += len(its.get(other.manifest.dataset_id, ()))
    for dataset_id in its.keys() & others.keys():
        count += len(np.intersect1d(its[dataset_id], others[dataset_id]))
    return count


def _read_origins(source: Source) -> Origins:
    """What a source's samples are copies of; nothing for a dataset that a job made."""
    data = source.store.read(ORIGINS_PATH)
    if data is None:
        return {}
    try:
        table = read_table(data, ("dataset_id", "origin"), most_rows=source.manifest.num_samples)
        ids = np.array(table["dataset_id"].to_pylist(), dtype=str)
        indices = np.array(table["origin"].to_pylist(), dtype=np.int64)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise DamageError(
            where=f"{source.store.uri}/{ORIGINS_PATH}",
            found=f"not the table of its samples' origins ({error})",
            remedy="make that dataset again by the same command, which rewrites it",
        ) from error
    return {dataset_id: indices[ids == dataset_id] for dataset_id in np.unique(ids).tolist()}
