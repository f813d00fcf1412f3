"""Acceptance rules: which samples are kept, and the reason for rejecting the others."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from factory.data import Sample, Steering
from factory.errors import JobError
from factory.manifest.labels import MaskClass, find_classes
from factory.spec import AcceptSpec


@dataclass(frozen=True, slots=True)
class AcceptRules:
    """`dataset.accept` with classes resolved to ids."""

    min_confidence: float
    """Samples with a lower mean mask confidence are rejected."""
    class_share: dict[int, tuple[float, float]]
    """Minimum and maximum share of the mask's pixels, by class id."""
    min_agreement: float = 0.0
    """Samples whose mask agrees less with those of other methods are rejected."""


def find_rules(spec: AcceptSpec, labels: Sequence[MaskClass]) -> AcceptRules:
    """Resolve the rules of `spec` for masks with the classes `labels`.

    Raises:
        JobError: If there is no class of such a name or number, or two rules concern one class.
    """
    where = "dataset.accept.class_share"
    shares: dict[int, tuple[float, float]] = {}
    class_ids = find_classes(spec.class_share, labels, where=where)
    for class_id, (written, share) in zip(class_ids, spec.class_share.items(), strict=True):
        if class_id in shares:
            raise JobError(
                f"{where}: found class {written}, which stands there twice, as "
                f"{class_id} and as {labels[class_id].name}; leave one of them out"
            )
        shares[class_id] = share
    return AcceptRules(spec.min_confidence, dict(sorted(shares.items())), spec.min_agreement)


def reason_to_drop(
    sample: Sample, rules: AcceptRules, steering: Steering | None = None
) -> str | None:
    """The first rule that `sample` violates, as a short word for the record; None = accepted.

    A rejection by the segmenter itself takes precedence, with the segmenter's word. The result is a
    pure function of the sample and its round: it does not depend on other samples, shards or
    progress.
    """
    if sample.rejection:
        return sample.rejection
    measured = [("confidence", sample.confidence, rules.min_confidence)]
    if sample.agreement is not None:
        measured.append(("agreement", sample.agreement, rules.min_agreement))
    for word, value, least in measured:
        if value < least:
            return word
    for class_id, (least, most) in rules.class_share.items():
        share = area_of(sample, class_id)
        if share < least or share > most:
            return f"class_{class_id}_too_{'small' if share < least else 'large'}"
    wanted = steering.min_area if steering else {}
    if any(area_of(sample, class_id) < least for class_id, least in wanted.items()):
        return "coverage"
    return None


def split_accepted(
    samples: Iterable[Sample], rules: AcceptRules, steering: Steering | None = None
) -> tuple[list[Sample], Counter[tuple[str, int]]]:
    """The accepted samples, and the others counted by reason and class of the generator."""
    accepted, rejected = [], Counter[tuple[str, int]]()
    for sample in samples:
        reason = reason_to_drop(sample, rules, steering)
        if reason is None:
            accepted.append(sample)
        else:
            rejected[reason, sample.class_label] += 1
    return accepted, rejected


def area_of(sample: Sample, class_id: int) -> float:
    """The class's share of the mask, 0 to 1."""
    return sample.class_px[class_id] / sample.mask.size
