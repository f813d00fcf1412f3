"""Which samples are kept, and the reason for each that is not."""

from collections.abc import Sequence
from dataclasses import dataclass

from factory.data import Sample, Steering
from factory.errors import JobError
from factory.manifest.labels import ClassLabel
from factory.spec import AcceptSpec


@dataclass(frozen=True, slots=True)
class AcceptRules:
    """`dataset.accept`, with every class by its id."""

    min_confidence: float
    """Samples whose mean mask confidence is lower are dropped."""
    class_share: dict[int, tuple[float, float]]
    """Least and most share of the mask's pixels, by class id."""


def find_rules(spec: AcceptSpec, labels: Sequence[ClassLabel]) -> AcceptRules:
    """The rules of `spec` for masks with the classes `labels`.

    Raises:
        JobError: If there is no class of such a name or number, or two rules are for one class.
    """
    ids = {label.name: label.id for label in labels}
    shares: dict[int, tuple[float, float]] = {}
    for written, share in spec.class_share.items():
        class_id = ids.get(written, -1) if isinstance(written, str) else written
        if not 0 <= class_id < len(labels):
            raise JobError(
                f"dataset.accept.class_share: found class {written}; the segmenter has classes 0 to "
                f"{len(labels) - 1}: {', '.join(ids)}"
            )
        if class_id in shares:
            raise JobError(
                f"dataset.accept.class_share: found class {written}, which stands there twice, as "
                f"{class_id} and as {labels[class_id].name}; leave one of them out"
            )
        shares[class_id] = share
    return AcceptRules(spec.min_confidence, dict(sorted(shares.items())))


def reason_to_drop(
    sample: Sample, rules: AcceptRules, steering: Steering | None = None
) -> str | None:
    """The first rule that `sample` breaks, as a short word for the record; None to keep it.

    A mask that its own segmenter disowns comes first, with the segmenter's word.

    A pure function of the sample and its round: neighbours, shards and progress do not matter.
    """
    if sample.rejection:
        return sample.rejection
    if sample.confidence < rules.min_confidence:
        return "confidence"
    for class_id, (least, most) in rules.class_share.items():
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
