"""Estimate the cost of a fit before it is made: each method's own estimates, with a default for each.

A method names its `FitCost` in the table of methods. One that names none is still planned and run: its
fit happens in one process, and `factory plan` says that its duration is unknown.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from factory.fit.pixels.sampling import choose_layers, fitting_batch
from factory.generate.base import Generator
from factory.manifest.labels import MaskClass
from factory.manifest.paths import SEGMENTER_PATH
from factory.segment.base import AnySegmenter, finish_segmenter, load_segmenter
from factory.segment.methods import find_method, import_part, is_fitted, settings_of
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter, weight_name
from factory.spec import DatasetSpec, MethodSettings
from factory.spec.fit import LayerNames

LIKELY_CLASSES = 26
"""Classes of a head when the job does not say how many there will be."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Inputs from which a method estimates the cost of its fit."""

    dataset: DatasetSpec
    """The job's dataset; of a teacher, the same with the teacher as its segmenter."""
    generator: Generator
    """The job's generator."""
    device: torch.device
    """Where the fit computes."""
    num_threads: int
    """Batches that the fit computes side by side on this machine."""

    clock: Callable[[], float] = time.perf_counter
    """Seconds from any point; what work is timed by."""

    def batches_s(self, num_images: int, batch_s: float) -> float:
        """Seconds of one thread for `num_images`, at `batch_s` a batch."""
        return num_images * batch_s / self.dataset.batch_size


def likely_head(
    probe: Probe,
    num_classes: int = LIKELY_CLASSES,
    layers: LayerNames = "auto",
    labels: Sequence[MaskClass] = (),
) -> bytes:
    """A linear head whose classes are single pixels' features: the shape and plausible masks.

    `labels` are the names of its classes, if the job has any; other settings may use them.
    """
    names, rows = likely_rows(probe, num_classes, layers)
    tensors = {weight_name(name): rows[name] for name in names}
    bias = torch.zeros(num_classes)
    for name in names:
        bias -= rows[name].square().sum(dim=1) / 2
    return encode_stand_in(probe, names, num_classes, tensors | {"bias": bias}, labels)


def likely_rows(
    probe: Probe, num_classes: int, layers: LayerNames
) -> tuple[tuple[str, ...], dict[str, torch.Tensor]]:
    """The feature maps that `layers` chooses, and for each the features at `num_classes` pixels."""
    names = choose_layers(layers, probe.generator.facts)
    latents = fitting_batch(probe.generator, probe.dataset, 0, 0)
    features = probe.generator.generate(latents, names).features
    rows = {}
    for name in names:
        maps = features[name].float().cpu()
        step = torch.linspace(0, maps[:, 0].numel() - 1, num_classes).long()
        rows[name] = maps.permute(0, 2, 3, 1).flatten(0, 2)[step].contiguous()
    return names, rows


def encode_stand_in(
    probe: Probe,
    layers: tuple[str, ...],
    num_classes: int,
    tensors: dict[str, torch.Tensor],
    labels: Sequence[MaskClass] = (),
) -> bytes:
    """A segmenter file in place of a fitted one."""
    facts = SegmenterFacts(
        kind=probe.dataset.segmenter.kind,
        generator_kind=probe.dataset.generator.kind,
        weights_sha256="",
        layers=list(layers),
        labels=list(labels or unnamed_labels(num_classes)),
        margin_scale=1.0,
        fitted_on={},
    )
    return encode_segmenter(tensors, facts)


def _no_shared_work(settings: Any) -> int:  # noqa: ANN401, ARG001 - each method has its own settings
    return 0


def _likely_head(settings: Any, probe: Probe) -> bytes:  # noqa: ANN401, ARG001 - as above
    return likely_head(probe)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitCost:
    """A method's estimates: functions whose first argument is its settings."""

    seconds: Callable[[Any, Probe, float], float | None] | None = None
    """Seconds of the fit, given a probe and the seconds that a fitted segmenter takes for a batch of
    images and masks; None = unknown."""
    shared_work: Callable[[Any], int] = _no_shared_work
    """Sums that several workers can share: pixels times clusters. 0 = the fit needs the generator
    itself, or nothing is gained, and it is made in one process."""
    stand_in: Callable[[Any, Probe], bytes] = _likely_head
    """A segmenter file of the likely shape, to be timed in place of a fitted one. The default is a
    linear head on feature maps chosen by `auto`."""


def cost_of(spec: MethodSettings) -> FitCost:
    """The estimates of the method of `spec`."""
    target = find_method(spec.kind).cost
    found: FitCost = import_part(spec.kind, target) if target else FitCost()
    return found


def fit_seconds(probe: Probe, batch_s: float) -> float | None:
    """Seconds of the fit of the probe's dataset, 0 if there is nothing to fit; None = unknown."""
    spec = probe.dataset.segmenter
    if not is_fitted(spec):
        return 0.0
    seconds = cost_of(spec).seconds
    return None if seconds is None else seconds(settings_of(spec), probe, batch_s)


def load_stand_in(probe: Probe) -> AnySegmenter:
    """The segmenter of the probe's dataset; if it has to be fitted, one that is not yet.

    Raises:
        JobError, PluginError: If it cannot be built for this generator.
    """
    spec = probe.dataset.segmenter.model_copy(update={"confidence": "margin"})  # no heads yet
    with tempfile.TemporaryDirectory() as folder:
        path = None
        if is_fitted(spec):
            path = Path(folder) / SEGMENTER_PATH
            path.write_bytes(cost_of(spec).stand_in(settings_of(spec), probe))
        return load_segmenter(spec, path, probe.generator.facts, probe.device)


def load_fitted(probe: Probe, fitted: bytes, finished: bytes | None) -> AnySegmenter:
    """The segmenter; without its heads if they are not `finished`, which take little of its time."""
    spec = probe.dataset.segmenter
    if finished is None:
        spec = spec.model_copy(update={"confidence": "margin"})
        finished = finish_segmenter(fitted, spec, source="the fitted segmenter") if fitted else b""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / SEGMENTER_PATH
        path.write_bytes(finished)
        return load_segmenter(spec, path if finished else None, probe.generator.facts, probe.device)
