"""Compute segmentation scores (ARI, AMI, V-measure, accuracy, IoU) from a contingency table.

Papers average IoU over images or over pixels, with the background or without, and match clusters on
the images they score; their columns cannot be compared. All four averages are reported here, and the
matching is fitted on other images than it is scored on.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from factory.dataset.state import find_labels
from factory.errors import JobError
from factory.evaluate.contingency import Contingency
from factory.evaluate.matching import match_greedy, match_names
from factory.evaluate.metrics import (
    UNASSIGNED,
    Overlaps,
    adjusted_mutual_information,
    iou_global,
    iou_per_image,
    overlaps,
    pixel_accuracy,
    v_measure,
)
from factory.evaluate.reading import read_counts
from factory.evaluate.reference import Reference
from factory.evaluate.scores import Agreement, ClassScore, MaskScores, Match
from factory.segment.agreement import adjusted_rand
from factory.store import Store


def evaluate_masks(
    store: Store,
    reference: Reference,
    *,
    names: Sequence[str] = (),
    match: Match = "greedy",
    background: str = "0",
    limit: int | None = None,
) -> MaskScores:
    """Score the masks of the dataset in `store` against `reference`.

    Args:
        store: The dataset; its committed shards are scored.
        reference: The source of the correct masks.
        names: Names of the reference's classes, by id; none = its own, or their ids.
        match: How the dataset's classes are matched to those of the reference.
        background: Id or name of the reference's background, or `none`.
        limit: Use the first samples only.

    Raises:
        FactoryError: As `read_counts` and `score_masks` do.
        JobError: If the reference has no such background.
    """
    table = read_counts(store, reference, limit)
    num_classes = int(table.truth.max()) + 1
    classes = names or reference.classes or [str(class_id) for class_id in range(num_classes)]
    return score_masks(
        table,
        classes=classes,
        clusters=[label.name for label in find_labels(store).labels],
        match=match,
        background=_find_background(background, classes),
    )


def _find_background(wanted: str, classes: Sequence[str]) -> int | None:
    if wanted == "none":
        return None
    if wanted in classes:
        return classes.index(wanted)
    by_number = {str(number): number for number in range(len(classes))}
    if wanted in by_number:
        return by_number[wanted]
    raise JobError(
        f"--background: found {wanted[:40]!r}; allowed: none, 0 to {len(classes) - 1}, or one of "
        f"{', '.join(classes)}"
    )


def score_masks(
    table: Contingency,
    *,
    classes: Sequence[str],
    clusters: Sequence[str],
    match: Match,
    background: int | None,
) -> MaskScores:
    """Score the masks counted in `table`.

    Args:
        table: Pixels by image, reference class and cluster; at least one.
        classes: Names of the reference's classes, by id.
        clusters: Names of the dataset's classes, by id.
        match: `greedy`, fitted on half of the images; or `names`.
        background: Id of the reference's background; None = there is none.

    Raises:
        JobError: If an id has no name, no name is on both sides, or there are too few images.
    """
    _check_ids(table, classes, clusters)
    assignment, scored = _match(table, classes, clusters, match)
    counts = overlaps(scored, assignment, len(classes))
    shown = counts.truth.sum(axis=0) > 0
    front = shown & (np.arange(len(classes)) != background)
    shape = (len(classes), len(clusters))
    foreground = None
    if background is not None and front.any():
        in_front = table.where(table.truth != background)
        foreground = _agree(in_front.pooled(*shape), counts, front)
    names = np.array(clusters)
    return MaskScores(
        num_samples=len(table.keys),
        num_ignored_px=int(table.num_px.sum() - table.counts.sum()),
        match=match,
        num_matched_on=len(table.keys) - len(scored.keys),
        num_scored=len(scored.keys),
        background=classes[background] if background is not None else "",
        all_classes=_agree(table.pooled(*shape), counts, shown),
        foreground=foreground,
        classes=_score_classes(counts, classes, names, assignment),
        unassigned=tuple(names[assignment == UNASSIGNED].tolist()),
    )


def _check_ids(table: Contingency, classes: Sequence[str], clusters: Sequence[str]) -> None:
    sides = (("reference", table.truth, classes), ("dataset", table.cluster, clusters))
    for side, ids, names in sides:
        if (largest := int(ids.max())) >= len(names):
            raise JobError(
                f"the {side}'s masks hold class {largest}, but it has names for {len(names)}: "
                f"{', '.join(names)}; name all of them"
            )


def _match(
    table: Contingency, classes: Sequence[str], clusters: Sequence[str], match: Match
) -> tuple[Int64[np.ndarray, " k"], Contingency]:
    """Match clusters to classes; returns the class of each cluster and the images to score on."""
    if match == "names":
        assignment = match_names(classes, clusters)
        if (assignment == UNASSIGNED).all():
            raise JobError(
                f"--match names: the dataset's classes ({', '.join(clusters)}) and the reference's "
                f"({', '.join(classes)}) have no name in common; give --reference-names, or use "
                "--match greedy"
            )
        return assignment, table
    fitted, scored = table.halves()
    if not len(fitted.counts) or not len(scored.counts):
        raise JobError(
            f"--match greedy: {len(table.keys)} samples are too few to fit the matching on one half "
            "and score it on the other; use more samples, or --match names"
        )
    return match_greedy(fitted, len(classes), len(clusters)), scored


def _agree(
    pooled: Int64[np.ndarray, "g k"], counts: Overlaps, classes: Bool[np.ndarray, " g"]
) -> Agreement:
    parts = v_measure(pooled)
    return Agreement(
        ari=adjusted_rand(pooled),
        ami=adjusted_mutual_information(pooled),
        v_measure=parts.v_measure,
        homogeneity=parts.homogeneity,
        completeness=parts.completeness,
        pixel_accuracy=pixel_accuracy(counts, classes),
        miou_per_image=float(iou_per_image(counts)[classes].mean()),
        miou_global=float(iou_global(counts)[classes].mean()),
    )


def _score_classes(
    counts: Overlaps,
    classes: Sequence[str],
    clusters: np.ndarray,
    assignment: Int64[np.ndarray, " k"],
) -> tuple[ClassScore, ...]:
    sizes = counts.truth.sum(axis=0)
    per_image, overall = iou_per_image(counts), iou_global(counts)
    return tuple(
        ClassScore(
            id=class_id,
            name=classes[class_id],
            share=float(sizes[class_id] / sizes.sum()),
            iou_per_image=float(per_image[class_id]),
            iou_global=float(overall[class_id]),
            clusters=tuple(clusters[assignment == class_id].tolist()),
        )
        for class_id in np.flatnonzero(sizes).tolist()
    )
