"""Check all settings that name classes of the segmenter at once: a person mends them in one round."""

from collections.abc import Callable, Sequence
from functools import partial

from factory.edit.changes import make_change
from factory.errors import JobError
from factory.make.accept import find_rules
from factory.make.compose import find_objects
from factory.manifest.labels import MaskClass
from factory.segment.clean import make_cleaner
from factory.spec import DatasetSpec


def check_class_names(dataset: DatasetSpec, labels: Sequence[MaskClass]) -> None:
    """Require that `dataset` names only classes that its segmenter has: `labels`.

    Raises:
        JobError: If a setting names another, or one twice; it tells all such settings.
    """
    checks: list[Callable[[], object]] = [
        partial(find_rules, dataset.accept, labels),
        partial(find_objects, dataset.compose, labels),
    ]
    if dataset.segmenter.clean is not None:
        checks.append(partial(make_cleaner, dataset.segmenter.clean, labels))
    if dataset.edit is not None and dataset.edit.masks is None:
        checks.append(partial(make_change, dataset.edit, labels, seed=0))
    problems = []
    for check in checks:
        try:
            check()
        except JobError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise JobError(f"{len(problems)} settings do not fit the segmenter's classes{lines}")
