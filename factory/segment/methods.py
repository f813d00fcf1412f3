"""Find a segmenting method by its kind: in our table, or from a plugin.

A plugin is either a segmenter, which is called with the job's section unchanged, or a `Method` like
those of `spec/methods.py`, with settings and a fitter of its own.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factory.errors import JobError, PluginError
from factory.identity import digest_of_file
from factory.plugins import Role, import_target
from factory.segment import SEGMENTERS
from factory.spec import METHODS, Method, MethodSettings, PluginSegmenterSpec
from factory.spec.check import check_settings
from factory.spec.segmenters import find_superseded, find_unteachable

SEGMENTER_SECTION = "dataset.segmenter"
"""Where a job holds the settings of its method."""

ROLE = Role(
    "dataset.segmenter.kind",
    "segmenter",
    ("its settings", "the fitted file", "the generator's facts", "the device"),
    ("segment", "segment_latents"),
)
"""What a segmenter is called with."""


def find_method(kind: str) -> Method:
    """The method called `kind`. A plugin is imported for it, ours are not.

    Raises:
        PluginError: If nothing has that name, or a plugin cannot be imported.
    """
    if kind in METHODS:
        return METHODS[kind]
    found = SEGMENTERS.load(kind)
    return found if isinstance(found, Method) else Method(segmenter=SEGMENTERS.target(kind))


def import_part(kind: str, target: str) -> Any:  # noqa: ANN401 - whatever the method needs there
    """Import one of the targets of the method `kind`.

    Raises:
        PluginError: If it cannot be imported.
    """
    return import_target(target, f"segmenter {kind!r}")


def settings_of(spec: MethodSettings, *, section: str = SEGMENTER_SECTION) -> MethodSettings:
    """The settings that a method's segmenter and fitter get: an instance of its own settings class.

    Settings of our methods have that class already. Those of a plugin are validated here, as soon as it
    may be imported; `section` is their path in the job.

    Raises:
        JobError: If a setting is unknown to the plugin or invalid; a line for each problem.
        PluginError: If the plugin's settings class cannot be used.
    """
    if not isinstance(spec, PluginSegmenterSpec):
        return spec
    method = find_method(spec.kind)
    if not method.settings:
        return spec
    own = _own_settings(spec.kind, method)
    where = f"{section}.settings"
    beside = {"clean": None, "confidence": "margin"}  # every method's: the plugin never sees them
    misplaced = next((name for name in beside if name in spec.settings), None)
    if misplaced is not None:
        raise JobError(
            f"{where}.{misplaced}: found in the plugin's own settings; write it into {section}, beside "
            "`kind`"
        )
    checked = check_settings(
        own,
        spec.settings,
        source=f"segmenter {spec.kind!r}",
        under=where,
        given={"kind": spec.kind, **beside},
    )
    superseded = find_superseded(method, checked)
    if superseded:
        raise JobError(where=where, found=superseded)
    return checked


def _own_settings(kind: str, method: Method) -> type[MethodSettings]:
    """The settings class of a plugin, if its entry and the class fit each other."""
    own = import_part(kind, method.settings)
    if not (isinstance(own, type) and issubclass(own, MethodSettings)):
        raise PluginError(
            f"segmenter {kind!r}: {method.settings} is no settings class; derive it from "
            "factory.spec.MethodSettings"
        )
    if own.model_fields["kind"].annotation is not str:
        raise PluginError(
            f"segmenter {kind!r}: {method.settings} says what its `kind` is; leave `kind` out of "
            "the class: a plugin has the name that a job gives it"
        )
    names = [name for name in own.model_fields if name not in own.identity_later]
    unknown = sorted(method.named_settings().difference(names))
    if unknown:
        raise PluginError(
            f"segmenter {kind!r}: its entry names the setting {unknown[0]!r}, and "
            f"{method.settings} has only {', '.join(names)}"
        )
    if method.inlined:
        raise PluginError(
            f"segmenter {kind!r}: its entry names {method.inlined[0]!r} in `inlined`, which job "
            "files can do for our own methods only; use `files`"
        )
    return own


def methods_in(
    spec: MethodSettings, section: str = SEGMENTER_SECTION
) -> Iterator[tuple[str, MethodSettings]]:
    """Iterate over `spec` and the methods nested in it, such as a teacher: (section, settings)."""
    yield section, spec
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, MethodSettings):
            yield from methods_in(value, f"{section}.{name}")


def find_source_digests(spec: MethodSettings) -> dict[str, str]:
    """SHA-256 of the source files of plugins, by module: a fit is cached by them."""
    found = {}
    for _, one in methods_in(spec):
        if one.kind in METHODS:
            continue
        method = find_method(one.kind)
        targets = (SEGMENTERS.target(one.kind), method.settings, method.fitter, method.segmenter)
        for target in filter(None, targets):
            import_part(one.kind, target)
            name = target.partition(":")[0]
            file = sys.modules[name].__file__
            found[name] = digest_of_file(Path(file)) if file else ""
    return found


def check_methods(spec: MethodSettings) -> None:
    """Validate the methods of a job before anything is fitted.

    Raises:
        PluginError: If nothing has that name, or a plugin cannot be used.
        JobError: If a plugin is no segmenter, does not have such a setting, or cannot be a teacher.
    """
    for section, one in methods_in(spec):
        if one.kind not in METHODS:
            ROLE.check(one.kind, import_part(one.kind, find_method(one.kind).segmenter))
        settings = settings_of(one, section=section)
        problem = find_unteachable(find_method(one.kind), settings) if one is not spec else ""
        if problem:
            raise JobError(where=section, found=problem)


def is_fitted(spec: MethodSettings) -> bool:
    """Whether a segmenter of `spec` must be fitted before it can make masks."""
    method = find_method(spec.kind)
    if not method.fitter or not method.fitted_if:
        return bool(method.fitter)
    return bool(getattr(settings_of(spec), method.fitted_if))


def has_file(spec: MethodSettings) -> bool:
    """Whether a segmenter of `spec` reads a file: it is fitted itself, or its confidence is."""
    return is_fitted(spec) or spec.confidence == "agreement"


def find_doubts(spec: MethodSettings, fitted: bytes) -> list[str]:
    """What a user should know of the classes that `spec` makes of a fit, a line each.

    Raises:
        JobError: If the settings do not suit the fit.
        PluginError: If a plugin cannot be used.
    """
    target = find_method(spec.kind).doubts
    lines: list[str] = import_part(spec.kind, target)(fitted, settings_of(spec)) if target else []
    return lines
