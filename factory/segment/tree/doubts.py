"""Classes of a cut that are of little use, said with what to do about it."""

from collections.abc import Sequence

from factory.segment.segmenter_file import decode_segmenter
from factory.segment.tree.cut import choose_nodes
from factory.segment.tree.hierarchy import Hierarchy, read_hierarchy
from factory.segment.tree.suggest import LEAST_IMAGES, MOST_SHARE, shares_of
from factory.spec.klish import KlishSpec


def find_doubts(fitted: bytes, spec: KlishSpec) -> list[str]:
    """One line for each class of `spec`'s cut with nearly all pixels, or in almost no image.

    Shares are of the fitting pixels; which images hold a class is known of robust fits alone.

    Raises:
        JobError: If the tree has no such cut, or the labels are not for this tree.
    """
    tree = read_hierarchy(decode_segmenter(fitted, source="the fitted segmenter")[0])
    if tree is None:
        return []
    groups = choose_nodes(tree, spec)
    names = (
        [label.name for label in spec.labels.labels]
        if spec.labels
        else [f"class {k}" for k in range(len(groups))]
    )
    return _of_classes(tree, groups, names)


def doubts_of_cut(tree: Hierarchy, num_classes: int) -> list[str]:
    """The same for the flat cut into so many classes, which a person looks at by node."""
    cut = tree.by_size(tree.flat_cut(num_classes))
    return _of_classes(tree, [[node] for node in cut], [f"class {k}" for k in range(len(cut))])


def _of_classes(
    tree: Hierarchy, groups: Sequence[Sequence[int]], names: Sequence[str]
) -> list[str]:
    found = []
    of_cut = f"of {len(groups)} classes"
    for name, group in zip(names, groups, strict=True):
        nodes = ", ".join(str(node) for node in group)
        share, images = sum(shares_of(tree, group)), tree.image_share(group)
        if share > MOST_SHARE:
            advice = "cut finer, or fit on other `layers`"
            if tree.evidence is None:
                advice += " or with `merging: robust`"
            found.append(
                f"{of_cut}, {name} (node {nodes}) holds {share:.1%} of the pixels: {advice}"
            )
        if images is not None and images < LEAST_IMAGES:
            found.append(
                f"{of_cut}, {name} (node {nodes}) is in {images:.1%} of the images: cut coarser, "
                "or raise fit.num_images to see whether it is a part or a chance"
            )
    return found
