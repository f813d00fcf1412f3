"""Which samples are kept, and the reason for each that is not."""

from factory.data import Sample
from factory.spec import AcceptSpec


def reason_to_drop(sample: Sample, rules: AcceptSpec) -> str | None:
    """The first rule that `sample` breaks, as a short word for the record; None to keep it.

    A mask that its own segmenter disowns comes first, with the segmenter's word.

    A pure function of the sample: neighbours, shards and progress do not matter.
    """
    if sample.rejection:
        return sample.rejection
    if sample.confidence < rules.min_confidence:
        return "confidence"
    for class_id, (least, most) in sorted(rules.class_share.items()):
        share = sample.class_px[class_id] / sample.mask.size
        if share < least:
            return f"class_{class_id}_too_small"
        if share > most:
            return f"class_{class_id}_too_large"
    return None
