"""What the other methods that masks are compared with cost, before they are fitted and after."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factory.fit.cost import Probe, fit_seconds, load_stand_in
from factory.fit.finish import find_finished
from factory.fit.fitted import find_fitted, needs_fitting
from factory.run.opinions import NUM_IMAGES
from factory.segment.opinions import Opinion, load_fitted, match_classes

_UNKNOWN = (
    "dataset.accept.min_agreement: how many samples agree enough is not forecast; compare a first "
    "shard's `agreement`, and set dataset.oversample"
)


@dataclass(frozen=True, slots=True)
class OthersCost:
    """The other methods of a job, to be timed."""

    opinions: Sequence[Opinion] = ()
    """Fitted where a fit is known, else a stand-in; what they say means nothing."""
    unfitted: Sequence[Probe] = ()
    """Those that are still to be fitted."""
    warnings: Sequence[str] = ()
    """What cannot be foreseen."""

    def fit_s(self, probe: Probe, batch_s: float) -> float | None:
        """Seconds until all are fitted and their classes matched; None = unknown.

        `batch_s` are those of a batch with all masks.
        """
        if not self.opinions:
            return 0.0
        total = probe.batches_s(NUM_IMAGES, batch_s)
        for one in self.unfitted:
            seconds = fit_seconds(one, batch_s)
            if seconds is None:
                return None
            total += seconds
        return total


def probe_others(probe: Probe, weights_sha256: str) -> OthersCost:
    """Load the other methods of the probe's dataset, or stand-ins.

    Raises:
        JobError, PluginError: If one cannot be built for this generator.
    """
    agreement = probe.dataset.agreement
    if agreement is None:
        return OthersCost()
    opinions, unfitted = [], []
    for other in agreement.others:
        update = {"segmenter": other.method, "agreement": None}
        own = replace(probe, dataset=probe.dataset.model_copy(update=update))
        fitted = find_fitted(own.dataset, weights_sha256) if needs_fitting(own.dataset) else b""
        finished = None if fitted is None else find_finished(fitted, own.dataset, weights_sha256)
        if finished is None:
            segmenter = load_stand_in(own)
            unfitted += [own] if fitted is None else []
        else:
            segmenter = load_fitted(other.method, finished, own.generator.facts, own.device)
        names = [label.name for label in segmenter.labels]
        matched = match_classes(np.eye(len(names), dtype=np.int64), names, names)
        opinions.append(Opinion(segmenter, matched, own.device))
    warnings = [_UNKNOWN] if probe.dataset.accept.min_agreement else []
    return OthersCost(opinions, unfitted, warnings)
