"""Tell images of one colour: saturated or damaged weights make them, and nothing else fails."""

import logging
from collections.abc import Sequence

from factory.log import log_event
from factory.manifest.measure import Measures
from factory.manifest.records import ShardRecord

_MOST_SHARPNESS = 0.4
"""Variance of the Laplacian, in grey levels squared. With less, an image shows nothing; it is also
within the first bin of a receipt's histogram."""
_ADVICE = "look at the preview, and check the weights with `factory inspect` and truncation psi"


def warn_of_blank(measures: Sequence[Measures]) -> list[str]:
    """A warning if every image that was measured is (nearly) of one colour."""
    if not measures or any(m.sharpness < 0 or m.sharpness > _MOST_SHARPNESS for m in measures):
        return []
    return [f"the {len(measures)} images that were looked at are of one colour each: {_ADVICE}"]


class BlankWatch:
    """Logs one line for the first shard whose images are all (nearly) of one colour."""

    def __init__(self) -> None:
        """Nothing has been told yet."""
        self._has_told = False

    def committed(self, record: ShardRecord) -> None:
        """A shard was committed, by this run or another one."""
        # Trailing zeros are left out: one number means that all images are in the first bin.
        bins = record.coverage.sharpness if record.coverage else []
        if self._has_told or len(bins) != 1:
            return
        self._has_told = True
        log_event(
            "images_blank",
            level=logging.WARNING,
            shard=record.path,
            means=f"all its images are of one colour each: {_ADVICE}",
        )
