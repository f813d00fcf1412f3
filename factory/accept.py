"""Which samples are kept, and the reason for each that is not."""

from factory.data import Sample, Steering
from factory.spec import AcceptSpec


def reason_to_drop(
    sample: Sample, rules: AcceptSpec, steering: Steering | None = None
) -> str | None:
    """The first rule that `sample` breaks, as a short word for the record; None to keep it.

    A pure function of the sample and its round: neighbours, shards and progress do not matter.
    """
    if sample.confidence < rules.min_confidence:
        return "confidence"
    for class_id, (least, most) in sorted(rules.class_share.items()):
        share = area_of(sample, class_id)
        if share < least:
            return f"class_{class_id}_too_small"
        if share > most:
            return f"class_{class_id}_too_large"
    wanted = steering.min_area if steering else {}
    if any(area_of(sample, class_id) < least for class_id, least in wanted.items()):
        return "coverage"
    return None


def area_of(sample: Sample, class_id: int) -> float:
    """The share of the mask that a class has, 0 to 1."""
    return sample.class_px[class_id] / sample.mask.size
