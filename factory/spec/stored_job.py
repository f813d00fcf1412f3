"""Encode the copy of a job that is stored in its dataset: it runs from anywhere, and tells no secret."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from factory.redact import redact_values
from factory.spec.anchor import unname_folders
from factory.spec.job import JobSpec
from factory.spec.settings import Settings
from factory.spec.yaml_text import dump_yaml

TELLS = ("notify", "push_metrics", "tensorboard", "mlflow")
"""Settings of `run` that name whom a run tells: often secrets, and of no use to others."""
_LEFT_OUT = (
    "# Users, passwords and queries of addresses were left out: they may be secrets. To fetch from\n"
    "# there again, write the whole address here, or the path of a file with the same sha256.\n"
)


def encode_job(spec: JobSpec, *, root: Path | None = None, weights_sha256: str = "") -> bytes:
    """Encode `spec` as YAML, to be stored in the dataset that it makes.

    Defaults of `dataset` are written out, so that a version with other defaults makes the same. The file
    is copied with its dataset, which it names as `beside`, and published: paths are relative to the
    dataset and tell no folder of its maker. Weights are known by their content.

    Args:
        spec: The job.
        root: The dataset's folder; None if it lies on a server.
        weights_sha256: SHA-256 of the generator's weights; empty for a generator without.
    """
    document = spec.model_dump(mode="json", exclude_unset=True)
    dataset = _written_out(spec.dataset)
    if weights_sha256:
        dataset["generator"]["sha256"] = weights_sha256
    document |= {"dataset": dataset, "beside": "."}
    unname_folders(dataset, type(spec.dataset), root)
    if root is not None:  # a copy of the job makes a folder of this name where it is run
        document["output"]["uri"] = root.name
    for name in TELLS:
        document.get("run", {}).pop(name, None)
    kept = redact_values(document)
    note = _LEFT_OUT if kept != document else ""
    return (note + dump_yaml(kept)).encode()


def _written_out(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, with every default that may stand beside what was given.

    Some may not: those of a fit beside a fitted file, which they could not change.
    """
    values = {name: _plain(getattr(settings, name)) for name in type(settings).model_fields}
    kept = {name: value for name, value in values.items() if name in settings.model_fields_set}
    for name, value in values.items():
        if name not in kept and _is_accepted(type(settings), kept | {name: value}):
            kept[name] = value
    return {name: kept[name] for name in values if name in kept}


def _is_accepted(model: type[Settings], values: Mapping[str, Any]) -> bool:
    try:
        model.model_validate(values)
    except ValidationError:
        return False
    return True


def _plain(value: object) -> Any:  # noqa: ANN401 - any JSON
    """A setting's value as JSON; nested settings with their defaults."""
    match value:
        case Settings():
            return _written_out(value)
        case Mapping():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return to_jsonable_python(value)
