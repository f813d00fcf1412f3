"""A dataset's identity (a plain mapping of all settings and digests that decide bytes), and its id.

Only settings that a class lists (`identity_fields`) are part of it, so that settings can be added and
removed without changing the identity of existing datasets.
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
from factory.spec.settings import IdentityFields, Settings

BYTES_VERSION = 2
"""Increased when a change of the code makes the same job give other bytes; part of every identity."""

_LAST_TO_MAKE = {1: "commit 153132f of November 2026"}
"""The last code that makes the bytes of each older version; version 1 was never released."""


def make_identity(
    spec: JobSpec,
    *,
    weights_sha256: str,
    segmenter_sha256: str,
    files: Mapping[str, str] = MappingProxyType({}),
    layouts_sha256: str = "",
    backgrounds_sha256: str = "",
    opinions_sha256: str = "",
) -> dict[str, Any]:
    """Make the identity of a job's dataset.

    The size is left out, so that a dataset can grow; paths of weights, segmenter and other files are
    replaced by digests of their content.

    Args:
        spec: The job.
        weights_sha256: SHA-256 of the generator's weights.
        segmenter_sha256: SHA-256 of the fitted segmenter; empty without a fit.
        files: SHA-256 of other files that the segmenter is fitted on, by the setting that names
            them (see
            `fit.named_files`).
        layouts_sha256: SHA-256 of the wanted layouts or edited masks; empty without.
        backgrounds_sha256: SHA-256 of the pictures that objects are put on; empty without.
        opinions_sha256: SHA-256 of the other methods that masks are compared with; empty without.

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
    if spec.dataset.sampling is not None:
        identity["sampling"] = dataset["sampling"] | {"layouts_sha256": layouts_sha256}
    if spec.dataset.compose is not None:
        identity["compose"] = dataset["compose"] | {"backgrounds_sha256": backgrounds_sha256}
    if spec.dataset.agreement is not None:
        others = [_without_files(other.method) for other in spec.dataset.agreement.others]
        identity["agreement"] = {"others": others, "opinions_sha256": opinions_sha256}
    if spec.dataset.edit is not None and spec.dataset.edit.masks is not None:
        identity["edit"] = dataset["edit"] | {"layouts_sha256": layouts_sha256}
    # Identities are published with datasets: an address must not carry a password there.
    published: dict[str, Any] = redact_values(identity)
    return published


def identity_of(settings: Settings) -> dict[str, Any]:
    """The contribution of `settings` to an identity, as JSON values.

    The settings that their class lists as `first`, those of `later` that differ from the
    listed value, and those of `gone` with their last value. Without a list: all settings.
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


def identity_of_changes(settings: Settings) -> dict[str, Any]:
    """As `identity_of`, without the settings whose value is the default of their class.

    For the settings of plugins, whose datasets go by what a job writes. The default of a setting of
    `later` is the value listed there, so that a plugin can change its default.
    """
    listed = settings.identity_fields or IdentityFields(())
    later = dict(settings.identity_later) | dict(listed.later)
    changed = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name in listed.left_out:
            continue
        if name in later:
            is_default = _plain(value) == later[name]
        else:
            is_default = not field.is_required() and value == field.get_default(
                call_default_factory=True, validated_data={}
            )
        if not is_default:
            changed[name] = _changes(value)
    return changed


def _changes(value: object) -> Any:  # noqa: ANN401 - any JSON
    """As `_plain`, but nested settings without their defaults."""
    match value:
        case Settings():
            return identity_of_changes(value)
        case Mapping():
            return {str(key): _changes(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_changes(inner) for inner in value]
        case _:
            return to_jsonable_python(value)


def _plain(value: object) -> Any:  # noqa: ANN401 - any JSON
    """A setting's value as JSON; for nested settings, the result of `identity_of`."""
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
    """The segmenter's settings; beside a fitted file, only those that apply after the fit.

    Settings of a plugin are taken as written, because no plugin is imported here; see
    `run/job_identity.py`.
    """
    section = identity_of(spec.dataset.segmenter)
    method = METHODS.get(spec.dataset.segmenter.kind)
    if method is not None and method.fitted_file:
        fixed = method.fit_settings(section) if section[method.fitted_file] else set()
        section = {k: v for k, v in section.items() if k not in {method.fitted_file, *fixed}}
    return put_digests(section, files)


def _without_files(settings: Settings) -> dict[str, Any]:
    """The settings of another method without the paths of files: what they led to has a digest."""
    section = identity_of(settings)
    method = METHODS.get(section["kind"])
    paths = {*method.files, method.fitted_file} if method is not None else set()
    return {name: value for name, value in section.items() if name not in paths}


def put_digests(section: dict[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """A method's section of the job, with the paths of `files` replaced by digests."""
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
    """Require that this version makes the same bytes as the one that made a dataset.

    Needed to grow a dataset or to regenerate samples, not to read or verify it.

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
    """The id of an identity: the first 16 hex digits of its digest."""
    return digest_of(identity)[:16]


def identity_differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """One line for every value that differs: `path: X there, Y in the job`."""
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
