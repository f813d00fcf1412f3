"""What makes a dataset the one it is: its identity, as a plain mapping, and its id.

Only what a settings class lists (`identity_fields`) is part of it, so that settings can be added and
removed without making every existing dataset another one.
"""

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic_core import to_jsonable_python

from factory.errors import StoreError
from factory.identity import digest_of
from factory.provenance import find_versions
from factory.redact import redact_values
from factory.spec import METHODS, JobSpec
from factory.spec.settings import Settings

BYTES_VERSION = 2
"""Raised by us when the same job would give other bytes than before; it is part of every id."""

_LAST_TO_MAKE = {1: "commit 153132f of November 2026"}
"""The last code that makes the bytes of an older version; there was no release with version 1."""


def make_identity(
    spec: JobSpec,
    *,
    weights_sha256: str,
    segmenter_sha256: str,
    files: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """What makes this dataset this dataset, as a plain mapping.

    The size is left out, so that a dataset can grow; where weights, segmenter and other files lie is
    replaced by what is in them.

    Args:
        spec: The job.
        weights_sha256: Of the generator's weights.
        segmenter_sha256: Of the fitted segmenter; empty if there is nothing to fit.
        files: Of other files that the segmenter is fitted on, by the setting that names them (see
            `fit.named_files`).

    Returns:
        The identity.
    """
    dataset = identity_of(spec.dataset)
    identity: dict[str, Any] = {
        "bytes_version": BYTES_VERSION,
        "name": spec.name,
        **dataset,
        "generator": dataset["generator"] | {"weights_sha256": weights_sha256},
        "segmenter": _segmenter_section(spec, files) | {"sha256": segmenter_sha256},
    }
    published: dict[str, Any] = redact_values(identity)
    return published


def identity_of(settings: Settings) -> dict[str, Any]:
    """The part of an identity that `settings` are, as JSON values.

    What their class lists as first, what was added later and differs from its first default, and
    what is gone at the value it has for ever. The settings of a class without a list are all part.
    """
    listed = settings.identity_fields
    values = {name: _plain(getattr(settings, name)) for name in type(settings).model_fields}
    later = dict(settings.identity_later) | dict(listed.later if listed else {})
    for name, value in later.items():
        if values[name] == value:
            del values[name]
    if listed is None:
        return values
    return dict(listed.gone) | {k: v for k, v in values.items() if k not in listed.left_out}


def _plain(value: object) -> Any:  # noqa: ANN401 - any JSON
    """A setting's value as JSON has it, and of sections in it what `identity_of` says."""
    match value:
        case Settings():
            return identity_of(value)
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return to_jsonable_python(value)


def _segmenter_section(spec: JobSpec, files: Mapping[str, str]) -> dict[str, Any]:
    """The segmenter's settings; of a file that is fitted already, only what is done with it.

    Those of a plugin are taken as they are written: planning does not import it.
    """
    section = identity_of(spec.dataset.segmenter)
    method = METHODS.get(spec.dataset.segmenter.kind)
    if method is not None and method.fitted_file:
        settled = method.settles(section) if section[method.fitted_file] else set()
        section = {k: v for k, v in section.items() if k not in {method.fitted_file, *settled}}
    return put_digests(section, files)


def put_digests(section: dict[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """A method's section of the job, with digests in the place of the paths of `files`."""
    if not files:
        return section
    kept = copy.deepcopy(section)
    for setting in files:
        *parents, name = setting.split(".")
        inner = kept
        for parent in parents:
            inner = inner[parent]
        inner.pop(name, None)
    return kept | {"files": dict(files)}


def check_bytes_version(identity: Mapping[str, Any], *, source: str) -> None:
    """Require that a dataset's samples are made as this version makes them.

    Reading and checking a dataset does not need this, making more of it or the same again does.

    Raises:
        StoreError: If another version made the dataset; the message says which one reads it.
    """
    version = identity.get("bytes_version")
    if version == BYTES_VERSION or not isinstance(version, int):
        return
    ours = f"maskfactory {find_versions()['maskfactory']} makes version {BYTES_VERSION}"
    if version > BYTES_VERSION:
        raise StoreError(
            f"{source}: a newer maskfactory made it, with bytes of version {version}; {ours}: "
            "update it, or choose another output.uri"
        )
    raise StoreError(
        f"{source}: an older maskfactory made it, with bytes of version {version}; {ours}: it can be "
        f"read and checked, and {_LAST_TO_MAKE.get(version, 'the code that made it')} can resume it; "
        "choose another output.uri"
    )


def dataset_id_of(identity: dict[str, Any]) -> str:
    """The short name of an identity: the first 16 hex digits of its digest."""
    return digest_of(identity)[:16]


def identity_differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """One line for every leaf that differs: `path: theirs -> ours`."""
    lines = []
    mine, other = _leaves(ours), _leaves(theirs)
    for path in sorted(mine.keys() | other.keys()):
        found, wanted = other.get(path, "absent"), mine.get(path, "absent")
        if found != wanted:
            lines.append(f"{path}: {found!r} there, {wanted!r} in the job")
    return lines


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 - any JSON
    if isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or (prefix and not value):
        return {prefix: value}
    return {
        path: leaf
        for key, inner in value.items()
        for path, leaf in _leaves(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }
