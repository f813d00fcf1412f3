"""Digests of files that a job names and a fit reads: their content counts, not their location."""

from collections.abc import Mapping
from pathlib import Path

from factory.errors import JobError
from factory.identity import digest_of, digest_of_file
from factory.segment.methods import SEGMENTER_SECTION, find_method, methods_in, settings_of
from factory.spec import METHODS, DatasetSpec
from factory.train_generator.sources import expand_range


def digest_named_files(
    dataset: DatasetSpec, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """SHA-256 of what the job's methods read beside the generator.

    Keys are the settings that name the files, below `dataset.segmenter`, e.g. `teacher.pictures` or,
    of a plugin, `settings.pictures`. A setting that names nothing has no digest; neither have
    those beside a fitted file, which they no longer affect.

    Args:
        dataset: The job's dataset.
        known: Digests to take for files that are not here: a dataset goes on without what its
            segmenter was fitted on.

    Returns:
        The digests.

    Raises:
        JobError: If a file cannot be read, and nothing is known of it.
    """
    found = {}
    for section, spec in methods_in(dataset.segmenter):
        method, settings = find_method(spec.kind), settings_of(spec, section=section)
        inside = section if settings is spec else f"{section}.settings"
        names = method.files
        if method.fitted_file and getattr(settings, method.fitted_file):
            # Planning knows that the id of one of our own methods leaves this setting out.
            names = () if spec.kind in METHODS else (method.fitted_file,)
        for name in names:
            named = getattr(settings, name)
            if named:
                setting = f"{inside}.{name}".removeprefix(f"{SEGMENTER_SECTION}.")
                found[setting] = _digest(named, setting, known or {})
    return found


def digest_of_path(path: Path) -> str:
    """SHA-256 of a file, or of a folder: of the names in it, however deep, and their contents.

    Raises:
        OSError: If something there cannot be read.
    """
    if not path.is_dir():
        return digest_of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest_of({file.relative_to(path).as_posix(): digest_of_file(file) for file in files})


def _digest(named: str | list[str], setting: str, known: Mapping[str, str]) -> str:
    try:
        paths = expand_range(named) if isinstance(named, str) else [Path(one) for one in named]
        if isinstance(named, str) and len(paths) == 1:
            return digest_of_path(paths[0])
        return digest_of([digest_of_path(path) for path in paths])
    except OSError as error:
        if setting in known:
            return known[setting]
        raise JobError(
            f"{SEGMENTER_SECTION}.{setting}: {error.filename} cannot be read ({error.strerror}); the "
            f"segmenter is fitted on it: check the path{_meaning(error.filename)}"
        ) from error


def _meaning(path: str) -> str:
    """What a relative path means, for whoever looks for the file."""
    return "" if Path(path).is_absolute() else f"; it means the job's folder, or else {Path.cwd()}"
