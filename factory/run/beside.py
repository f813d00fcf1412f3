"""Make the files that lie beside a dataset, and that its shards are made with."""

import hashlib
import threading
from collections.abc import Mapping
from typing import Any

from factory.dataset.planned_files import BACKGROUNDS, LAYOUTS, OPINIONS, SEGMENTER, PlannedFile
from factory.fit.progress import OnProgress
from factory.generate.weights.find import LocalWeights
from factory.make.class_names import check_class_names
from factory.run.backgrounds import find_backgrounds
from factory.run.layouts import find_layouts
from factory.run.opinions import find_opinions
from factory.segment.segmenter_file import decode_segmenter
from factory.spec import JobSpec
from factory.store import Store


def find_beside(
    spec: JobSpec,
    weights: LocalWeights,
    fitted: bytes,
    *,
    on_progress: OnProgress,
    stop: threading.Event | None,
    store: Store,
    theirs: Mapping[str, Any],
) -> dict[PlannedFile, bytes]:
    """The content of every planned file; empty for those that this dataset does not have.

    Args:
        spec: The job.
        weights: The generator's weights.
        fitted: The segmenter file; empty for a method without.
        on_progress: Is told how far fits of other methods are.
        stop: Stops them when set.
        store: Where the dataset is, or will be.
        theirs: The identity of the dataset that is there; empty if there is none.

    Raises:
        JobError: If layouts or backgrounds cannot be used, or a class name is unknown.
        StoreError: If a dataset that layouts are drawn from cannot be read.
        Interrupted: If `stop` was set; the next call resumes.
    """
    dataset = spec.dataset
    if fitted:  # a misspelt class must not claim the output for a dataset that cannot be made
        _, facts = decode_segmenter(fitted, source="the fitted segmenter")
        check_class_names(dataset, facts.labels)
    return {
        SEGMENTER: fitted,
        LAYOUTS: find_layouts(dataset, weights, fitted, store=store, theirs=theirs),
        BACKGROUNDS: find_backgrounds(dataset, weights, store=store, theirs=theirs),
        OPINIONS: find_opinions(
            spec,
            weights,
            fitted,
            on_progress=on_progress,
            stop=stop,
            stored=OPINIONS.read(store, theirs),
        ),
    }


def digest_of_bytes(data: bytes) -> str:
    """SHA-256 of a file; empty for none."""
    return hashlib.sha256(data).hexdigest() if data else ""
