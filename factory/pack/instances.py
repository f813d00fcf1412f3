"""Validate the lists of a sample's instances against the pixels of its instance file."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt16

from factory.pack.facts import InstanceFacts


def check_instances(
    ids: UInt16[np.ndarray, "h w"], facts: InstanceFacts, num_classes: int
) -> Iterator[str]:
    """What is wrong with the lists in `facts`: they must be those of the instances in `ids`.

    Whoever writes other formats from them indexes one list by another, so that a reader must not
    believe them. `num_classes` is the number of instance classes.
    """
    lists = (facts.instance_class, facts.instance_box_xyxy, facts.instance_score)
    if any(len(part) != len(facts.instance_px) for part in lists):
        yield "its facts list other numbers of instances"
    elif any(class_id >= num_classes for class_id in facts.instance_class):
        largest = max(facts.instance_class)
        yield f"an instance has class {largest}; allowed: 0 to {num_classes - 1}"
    elif np.bincount(ids.ravel())[1:].tolist() != facts.instance_px or 0 in facts.instance_px:
        yield "its facts count other pixels per instance than its instances hold"
    elif facts.instance_px and boxes_of(ids) != facts.instance_box_xyxy:
        yield "its facts have other boxes than its instances"


def boxes_of(ids: UInt16[np.ndarray, "h w"]) -> list[list[int]]:
    """The smallest box of each instance, from id 1, as left, top, right and bottom.

    Every id up to the largest must be there. All are found in one pass: an image can have 65,535.
    """
    rows, columns = np.nonzero(ids)
    owners = ids[rows, columns]
    order = np.argsort(owners, kind="stable")
    rows, columns = rows[order], columns[order]
    starts = np.flatnonzero(np.diff(owners[order], prepend=0))
    sides = (
        np.minimum.reduceat(columns, starts),
        np.minimum.reduceat(rows, starts),
        np.maximum.reduceat(columns, starts) + 1,
        np.maximum.reduceat(rows, starts) + 1,
    )
    boxes: list[list[int]] = np.stack(sides, axis=1).tolist()
    return boxes
