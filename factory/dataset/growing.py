"""The job by which a dataset grows: the one stored in it, which may be of unknown origin."""

from collections.abc import Mapping
from typing import Any

from factory.dataset.state import read_stored_job
from factory.manifest.paths import JOB_PATH
from factory.spec import JobSpec
from factory.spec.changes import apply_changes
from factory.spec.read import check_job
from factory.store import Store


def job_to_grow(
    store: Store, changes: Mapping[str, Any], *, trust_plugins: bool = False
) -> JobSpec:
    """The stored job with `changes` by dotted path, writing to `store`.

    What is made is the dataset's matter. Where it runs is not: of the stored `run` section only numbers
    are taken, because a dataset of unknown origin could name a cluster or an address of its own.

    Raises:
        PluginError: If it names a `module:attribute` and is not trusted; see `trust.py`.
        StoreError: If it is missing, or there is no dataset.
        JobError: If a setting breaks a rule.
    """
    document = read_stored_job(store, trust_plugins=trust_plugins)
    run = document.get("run")
    document["run"] = _without_places(run) if isinstance(run, dict) else {}
    apply_changes(document, changes)
    output = document.get("output")
    is_single = isinstance(output, dict) and output.get("single_writer") is True
    # Where the dataset was made says nothing about where it lies now.
    document["output"] = {"uri": store.uri, "single_writer": is_single}
    document.pop("beside", None)  # its files are in `store`
    return check_job(document, source=f"{store.uri}/{JOB_PATH}")


def _without_places(run: Mapping[str, Any]) -> dict[str, Any]:
    numbers = (int, float)
    return {
        name: value
        for name, value in run.items()
        if isinstance(value, numbers) or (name, value) in _WORDS
    }


_WORDS = (
    ("executor", "inline"),
    ("executor", "ray"),
    ("num_actors", "auto"),
    ("encode_threads", "auto"),
)
