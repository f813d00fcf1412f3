"""Make the files that lie beside a dataset, and that its shards are made with."""

import hashlib
from collections.abc import Mapping
from typing import Any

from factory.dataset.planned_files import BACKGROUNDS, LAYOUTS, SEGMENTER, PlannedFile
from factory.generate.weights.find import LocalWeights
from factory.make.accept import find_rules
from factory.make.compose import find_objects
from factory.run.backgrounds import find_backgrounds
from factory.run.layouts import find_layouts
from factory.segment.segmenter_file import decode_segmenter
from factory.spec import DatasetSpec
from factory.store import Store


def find_beside(
    dataset: DatasetSpec,
    weights: LocalWeights,
    fitted: bytes,
    *,
    store: Store,
    theirs: Mapping[str, Any],
) -> dict[PlannedFile, bytes]:
    """The content of every planned file; empty for those that this dataset does not have.

    Args:
        dataset: The job's dataset.
        weights: The generator's weights.
        fitted: The segmenter file; empty for a method without.
        store: Where the dataset is, or will be.
        theirs: The identity of the dataset that is there; empty if there is none.

    Raises:
        JobError: If layouts or backgrounds cannot be used, or a class name is unknown.
        StoreError: If a dataset that layouts are drawn from cannot be read.
    """
    if fitted:  # a misspelt class must not claim the output for a dataset that cannot be made
        _, facts = decode_segmenter(fitted, source="the fitted segmenter")
        find_rules(dataset.accept, facts.labels)
        find_objects(dataset.compose, facts.labels)
    return {
        SEGMENTER: fitted,
        LAYOUTS: find_layouts(dataset, weights, fitted, store=store, theirs=theirs),
        BACKGROUNDS: find_backgrounds(dataset, weights, store=store, theirs=theirs),
    }


def digest_of_bytes(data: bytes) -> str:
    """SHA-256 of a file; empty for none."""
    return hashlib.sha256(data).hexdigest() if data else ""
