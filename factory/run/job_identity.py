"""The identity of a job's dataset, with plugins' settings as their classes understand them.

`plan/identity.py` takes settings as they are written, because it imports no plugin. Here a plugin may be
imported: a default that is written out, or `1` for `1.0`, does not make another dataset.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from factory.plan.identity import identity_of_changes, make_identity
from factory.segment.methods import SEGMENTER_SECTION, settings_of
from factory.spec import JobSpec, MethodSettings, PluginSegmenterSpec


def identify_job(
    spec: JobSpec,
    *,
    files: Mapping[str, str] = MappingProxyType({}),
    theirs: Mapping[str, Any] = MappingProxyType({}),
    **digests: str,
) -> dict[str, Any]:
    """Make the identity of a job's dataset.

    Of a plugin with a settings class, those settings are part that differ from their defaults; of one
    without, all settings as they are written.

    Args:
        spec: The job.
        files: SHA-256 of other files that the segmenter is fitted on.
        theirs: The identity of the dataset in the output; empty if there is none.
        **digests: SHA-256 of the weights and of the files beside the dataset; see `make_identity`.

    Raises:
        JobError: If a setting of a plugin is unknown or invalid.
        PluginError: If a plugin cannot be imported.
    """
    as_written = make_identity(spec, **digests, files=files)
    if as_written == theirs:  # made before defaults were left out
        return as_written
    segmenter = _without_defaults(spec.dataset.segmenter, SEGMENTER_SECTION)
    dataset = spec.dataset.model_copy(update={"segmenter": segmenter})
    return make_identity(spec.model_copy(update={"dataset": dataset}), **digests, files=files)


def _without_defaults(spec: MethodSettings, section: str) -> MethodSettings:
    """`spec` with only those settings of plugins, itself or a teacher, that are not their defaults."""
    if not isinstance(spec, PluginSegmenterSpec):
        inner = {
            name: _without_defaults(value, f"{section}.{name}")
            for name in type(spec).model_fields
            if isinstance(value := getattr(spec, name), MethodSettings)
        }
        return spec.model_copy(update=inner) if inner else spec
    own = settings_of(spec, section=section)
    if own is spec:  # it has no settings class
        return spec
    changed = identity_of_changes(own)
    del changed["kind"]  # it stands beside the settings
    return spec.model_copy(update={"settings": changed})
