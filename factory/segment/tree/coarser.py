"""Lookup tables from the class ids of existing masks to those of coarser flat cuts."""

from collections.abc import Sequence

from factory.manifest.labels import CoarserClasses
from factory.segment.tree.hierarchy import Hierarchy


def find_coarser(tree: Hierarchy, nodes: Sequence[Sequence[int]]) -> list[CoarserClasses]:
    """Find every flat cut with fewer classes that merges whole classes of `nodes`, few classes first.

    Its classes are numbered by decreasing size, as in a dataset that is cut there.
    """
    leaves = [frozenset().union(*map(tree.leaves, group)) for group in nodes]
    found = []
    for num_classes in range(2, len(nodes)):
        cut = tree.by_size(tree.flat_cut(num_classes))
        owner = {leaf: target for target, node in enumerate(cut) for leaf in tree.leaves(node)}
        # A class whose leaves fall into two coarser ones has no entry in a table: skip that cut.
        targets = [{owner[leaf] for leaf in group} for group in leaves]
        if all(len(target) == 1 for target in targets):
            class_of = [min(target) for target in targets]
            found.append(CoarserClasses(num_classes=num_classes, class_of=class_of))
    return found
