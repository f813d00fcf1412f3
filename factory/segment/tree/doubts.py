"""Classes of a cut that are of little use, said with what to do about it."""

from collections.abc import Sequence

from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import decode_segmenter
from factory.segment.tree.cut import choose_nodes
from factory.segment.tree.hierarchy import Hierarchy, read_hierarchy
from factory.segment.tree.mixture import mask_shares, measure_parts, rank_scores
from factory.segment.tree.suggest import LEAST_IMAGES, MOST_SHARE
from factory.spec.klish import KlishSpec

LEAST_STABILITY = 0.6
"""Hennig (2007; documentation of his R package fpc): clusters with a mean Jaccard index below this
should not be trusted."""


LEAST_PART = 0.05
"""A smaller part of a class makes it no mixture."""


def find_doubts(fitted: bytes, spec: KlishSpec) -> list[str]:
    """One line for whatever speaks against a class of `spec`'s cut, with advice.

    That it holds nearly all pixels or none, is in almost no image, flickers, or mixes what its parts
    separate. Shares are of the fitting pixels; which images hold a class, whether it is found again in
    others, and whether it is mixed, is known of robust fits alone.

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
        else [label.name for label in unnamed_labels(len(groups))]
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
    names = [f"cluster_{node}" for node in cut]  # as on the page
    return _of_classes(tree, [[node] for node in cut], names)


def doubts_of_class(tree: Hierarchy, group: Sequence[int], share: float) -> list[str]:
    """What speaks against a class made of the nodes `group`, each with advice, without its name.

    Whether it is mixed is not among it: that depends on the other classes, as `share` does, which masks
    give to it.
    """
    found = []
    images = tree.image_share(group)
    if share > MOST_SHARE:
        advice = "cut finer, or fit on other `layers`"
        if tree.evidence is None:
            advice += " or with `merging: robust`"
        found.append(f"holds {share:.1%} of the pixels: {advice}")
    if share == 0:  # a cluster of few pixels, each of which other classes score higher in the masks
        found.append(
            "holds none of the pixels that were looked at, though its cluster does: other classes win "
            "there; cut coarser, or fit on other `layers`"
        )
    elif images is not None and images < LEAST_IMAGES:
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


def _mixtures(
    tree: Hierarchy, groups: Sequence[Sequence[int]], names: Sequence[str]
) -> list[list[str]]:
    """Of each class, what is to be said of the largest part that is foreign, and not most of it.

    A class that is mostly nearer to another is no mixture: the cut is just fine, and the page tells it.
    """
    if tree.evidence is None or tree.evidence.ranks is None:
        return [[] for _ in groups]
    scores = rank_scores(tree.evidence.ranks)
    found = []
    for parts in measure_parts(tree, groups, scores):
        foreign = [part for part in parts if part.is_foreign and LEAST_PART <= part.share <= 0.5]
        worst = sorted(foreign, key=lambda part: -part.share)[:1]
        found.append([part.describe(names[part.other]) for part in worst])
    return found


def _of_classes(
    tree: Hierarchy, groups: Sequence[Sequence[int]], names: Sequence[str]
) -> list[str]:
    mixtures = _mixtures(tree, groups, names)
    return [
        f"of {len(groups)} classes, {name} (node {', '.join(map(str, group))}) {doubt}"
        for name, group, share, mixed in zip(
            names, groups, mask_shares(tree, groups), mixtures, strict=True
        )
        for doubt in doubts_of_class(tree, group, share) + mixed
    ]
