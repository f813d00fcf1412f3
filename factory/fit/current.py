"""Which fits in a cache are those that fitting would give now: a changed fitter keeps its fit keys.

A fit's key is made of settings alone, so that keys and ids stay when a fitter learns to read maps
otherwise. Its files say so instead, and a cached one that does not is fitted again: else the bytes of a
job would depend on what had been fitted on the machine before.
"""

from factory.errors import JobError
from factory.segment.segmenter_file import Corners, decode_segmenter
from factory.spec import MethodSettings
from factory.spec.distil import DistilSpec
from factory.spec.klish import KlishSpec


def corners_of(spec: MethodSettings) -> Corners:
    """How a fit with these settings reads maps between their pixels, and its head enlarges them."""
    # As published, fits and masks stay as the paper's code has them.
    is_robust = isinstance(spec, KlishSpec) and spec.merging == "robust"
    return "half_pixel" if is_robust else "aligned"


def corners_of_teacher(spec: MethodSettings) -> Corners:
    """The same of the method whose masks a fit with these settings learns from, if there is one."""
    return corners_of(spec.teacher) if isinstance(spec, DistilSpec) else "aligned"


def treatment_of(spec: MethodSettings) -> list[str]:
    """What decides a fit beside its settings; empty where that never changed.

    A part of the names of checkpoints: no fit may go on where an older fitter stopped.
    """
    both = corners_of(spec), corners_of_teacher(spec)
    return [] if both == ("aligned", "aligned") else list(both)


def is_current(data: bytes, spec: MethodSettings) -> bool:
    """Whether the cached fit `data` is what fitting with these settings would give now.

    What cannot be read is not: it is fitted again too.
    """
    if not treatment_of(spec):
        return True
    try:
        _, facts = decode_segmenter(data, source="the cache")
    except JobError:
        return False
    return [facts.corners, facts.teacher_corners] == treatment_of(spec)
