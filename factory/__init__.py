"""Turn a pretrained image generator into a segmentation dataset, without annotators.

    import factory

    factory.run_job("jobs/smoke.yaml")
    dataset = factory.open_dataset("out/smoke")

`docs/reading.md` goes from a job to a training loop. What is not listed in `__all__` may change.

A job is planned into tasks; the segmenter is fitted once; each task is a shard: generate, segment,
accept, pack, store; run does many at once; the manifest tells what was made; verify reads it back.
Whoever changes the package reads `job.py` and `shard.py` first.
"""

import importlib
from typing import TYPE_CHECKING

from factory.errors import (
    DamageError,
    FactoryError,
    IncompleteError,
    Interrupted,
    JobError,
    MissingWeightsError,
    PluginError,
    PreemptedError,
    RetryableError,
    ShardError,
    StoreError,
    UnknownGeneratorError,
    UnreachableError,
    WeightsError,
)

if TYPE_CHECKING:
    from factory.care.edit import edit_sample
    from factory.care.verify import verify_dataset
    from factory.dataset.reader import open_dataset
    from factory.downstream.evaluation import evaluate_model
    from factory.job import run_job
    from factory.run.estimate import estimate_job
    from factory.spec.job import JobSpec
    from factory.spec.read import load_job
    from factory.streaming import stream

    __version__: str
    """The version of the distribution, `maskfactory`."""

__all__ = [
    "DamageError",
    "FactoryError",
    "IncompleteError",
    "Interrupted",
    "JobError",
    "JobSpec",
    "MissingWeightsError",
    "PluginError",
    "PreemptedError",
    "RetryableError",
    "ShardError",
    "StoreError",
    "UnknownGeneratorError",
    "UnreachableError",
    "WeightsError",
    "__version__",
    "edit_sample",
    "estimate_job",
    "evaluate_model",
    "load_job",
    "open_dataset",
    "run_job",
    "stream",
    "verify_dataset",
]

# Imported when they are first asked for: torch alone takes seconds.
_HOMES = {
    "JobSpec": "factory.spec.job",
    "edit_sample": "factory.care.edit",
    "estimate_job": "factory.run.estimate",
    "evaluate_model": "factory.downstream.evaluation",
    "load_job": "factory.spec.read",
    "open_dataset": "factory.dataset.reader",
    "run_job": "factory.job",
    "stream": "factory.streaming",
    "verify_dataset": "factory.care.verify",
}


if not TYPE_CHECKING:  # type checkers see the names in their own modules

    def __getattr__(name: str) -> object:
        """Import what has this name from its module."""
        if name == "__version__":
            value: object = importlib.import_module("factory.provenance").own_version()
        elif name in _HOMES:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
