"""Classes of a cut that are of little use, said with what to do about it."""

from collections.abc import Sequence

from factory.segment.segmenter_file import decode_segmenter
from factory.segment.tree.cut import choose_nodes
from factory.segment.tree.hierarchy import Hierarchy, read_hierarchy
from factory.segment.tree.suggest import LEAST_IMAGES, MOST_SHARE, shares_of
from factory.spec.klish import KlishSpec

LEAST_STABILITY = 0.6
"""Hennig (2007; documentation of his R package fpc): clusters with a mean Jaccard index below this
should not be trusted."""


def find_doubts(fitted: bytes, spec: KlishSpec) -> list[str]:
    """One line for each class of `spec`'s cut with nearly all pixels, in almost no image, or flickering.

    Shares are of the fitting pixels; which images hold a class, and whether it is found again in
    others, is known of robust fits alone.

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
    disputes = spec.labels.find_disputes() if spec.labels else []
    return _of_classes(tree, groups, names) + [
        f"node {review.node} is named {review.given}, and {review.who} says {review.proposed} "
        f"({review.when[:10]}): look at it with `factory label`, and take that name or keep yours"
        for review in disputes
    ]


def doubts_of_cut(tree: Hierarchy, num_classes: int) -> list[str]:
    """The same for the flat cut into so many classes, which a person looks at by node."""
    cut = tree.by_size(tree.flat_cut(num_classes))
    return _of_classes(tree, [[node] for node in cut], [f"class {k}" for k in range(len(cut))])


def doubts_of_class(tree: Hierarchy, group: Sequence[int]) -> list[str]:
    """What speaks against a class made of the nodes `group`, each with advice, without its name."""
    found = []
    share, images = sum(shares_of(tree, group)), tree.image_share(group)
    if share > MOST_SHARE:
        advice = "cut finer, or fit on other `layers`"
        if tree.evidence is None:
            advice += " or with `merging: robust`"
        found.append(f"holds {share:.1%} of the pixels: {advice}")
    if images is not None and images < LEAST_IMAGES:
        found.append(
            f"is in {images:.1%} of the images: cut coarser, or raise fit.num_images to see whether "
            "it is a part or a chance"
        )
    return found + _flickering(tree, group)


def _flickering(tree: Hierarchy, group: Sequence[int]) -> list[str]:
    if tree.evidence is None or tree.evidence.stability is None:
        return []
    stability = {node: float(tree.evidence.stability[node]) for node in group}
    return [
        f"flickers: node {node} is found again by {found:.0%} (mean Jaccard index) when the images are "
        "drawn anew: cut coarser or finer there, or raise fit.num_images"
        for node, found in stability.items()
        if found < LEAST_STABILITY
    ]


def _of_classes(
    tree: Hierarchy, groups: Sequence[Sequence[int]], names: Sequence[str]
) -> list[str]:
    return [
        f"of {len(groups)} classes, {name} (node {', '.join(map(str, group))}) {doubt}"
        for name, group in zip(names, groups, strict=True)
        for doubt in doubts_of_class(tree, group)
    ]
