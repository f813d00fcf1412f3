"""Closer looks that a report keeps: the answers that the page would ask of its server, for some cuts.

All cuts of a tree have thousands of classes. A report holds those with few classes and the suggested
ones; pictures are kept once, however many classes show them.
"""

import base64
import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from factory.label.closer import CloserLook
from factory.label.figures import describe_classes, picture_uri
from factory.label.material import LabelMaterial
from factory.segment.tree.hierarchy import Hierarchy
from factory.segment.tree.suggest import suggest_cuts

NUM_SURVEYED = 64
"""Samples that a report's figures are about: fewer than on the page, as one waits for them."""

_MOST_CLASSES = 12
_MOST_SUGGESTED = 4
_MOST_PX = 128


def kept_cuts(tree: Hierarchy) -> list[int]:
    """Numbers of classes at which a report can be looked at closer, ascending."""
    suggested = [count for count, _ in suggest_cuts(tree).ranked[:_MOST_SUGGESTED]]
    return sorted({*range(2, min(_MOST_CLASSES, tree.num_leaves) + 1), *suggested})


def keep_closer_looks(material: LabelMaterial) -> dict[str, Any]:
    """What the page needs to look closer at the classes of `kept_cuts`, as plain JSON.

    The figures are about the samples that `material.survey` holds by now.
    """
    tree = material.tree
    cuts: dict[int, dict[str, Any]] = {}
    wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for count in kept_cuts(tree):
        nodes = tree.by_size(tree.flat_cut(count))
        cuts[count] = describe_classes(material, [[node] for node in nodes])
        cuts[count] |= {"nodes": nodes, "masks": [{} for _ in nodes]}
        for at, figures in enumerate(cuts[count]["classes"]):
            for index in (*figures["typical"], *figures["doubtful"]):
                wanted[index].append((count, at))
    look = CloserLook(material.renderer, _MOST_PX)
    images = {}
    for index in sorted(wanted):
        images[index] = picture_uri(look.image(index))
        for count, at in wanted[index]:
            cuts[count]["masks"][at][index] = _masks(look, index, cuts[count]["nodes"], at)
    side = min(material.renderer.side, _MOST_PX)
    return {"side": side, "images": images, "cuts": cuts}


def _masks(look: CloserLook, index: int, nodes: Sequence[int], at: int) -> str:
    """Where a class is, and behind it where its parts would be, compressed."""
    inside, parts = look.masks(index, [[node] for node in nodes], at)
    return base64.b64encode(zlib.compress(inside.tobytes() + parts.tobytes())).decode()
