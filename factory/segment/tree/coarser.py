"""Coarser classes of masks that are made: tables from fine class ids to those of flat cuts above."""

from collections.abc import Sequence

from factory.manifest.labels import CoarserClasses
from factory.segment.tree.hierarchy import Hierarchy


def find_coarser(tree: Hierarchy, nodes: Sequence[Sequence[int]]) -> list[CoarserClasses]:
    """Every flat cut with fewer classes that merges whole classes of `nodes`, few classes first.

    Its classes are numbered as those of a dataset that is cut there: by decreasing size.
    """
    leaves = [frozenset().union(*map(tree.leaves, group)) for group in nodes]
    found = []
    for num_classes in range(2, len(nodes)):
        cut = tree.by_size(tree.flat_cut(num_classes))
        owner = {leaf: target for target, node in enumerate(cut) for leaf in tree.leaves(node)}
        targets = [{owner[leaf] for leaf in group} for group in leaves]
        if all(len(target) == 1 for target in targets):
            class_of = [min(target) for target in targets]
            found.append(CoarserClasses(num_classes=num_classes, class_of=class_of))
    return found
