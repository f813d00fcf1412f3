"""What a fit depends on beside its settings: how its fitter reads maps, which may change.

A fit's key is made of settings alone, so that keys and ids stay when a fitter changes. The names of
files in the cache say the rest: else the bytes of a job would depend on what had been fitted on the
machine before.
"""

from factory.errors import JobError
from factory.segment.segmenter_file import Corners, decode_segmenter
from factory.segment.tree.hierarchy import read_hierarchy
from factory.spec import MethodSettings
from factory.spec.distil import DistilSpec
from factory.spec.klish import KlishSpec


def corners_of(spec: MethodSettings) -> Corners:
    """How a fit with these settings reads maps between their pixels, and its head enlarges them."""
    # As published, fits and masks stay as the paper's code has them.
    is_robust = isinstance(spec, KlishSpec) and spec.merging == "robust"
    return "half_pixel" if is_robust else "aligned"


def treatment_of(spec: MethodSettings) -> str:
    """What the cache's names of a fit and of its checkpoint end with; empty where that never changed.

    A head that is taught depends on how its teacher's fit reads maps.
    """
    corners = corners_of(spec.teacher if isinstance(spec, DistilSpec) else spec)
    return "" if corners == "aligned" else f".{corners}"


def has_tree_of_labels(data: bytes, spec: MethodSettings) -> bool:
    """Whether the names that a job gives are for the merge tree in the fit `data`."""
    if not isinstance(spec, KlishSpec) or spec.labels is None:
        return False
    try:
        tree = read_hierarchy(decode_segmenter(data, source="the cache")[0])
    except JobError:
        return False
    return tree is not None and tree.digest() == spec.labels.tree
