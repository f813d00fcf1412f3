"""Measure what samples for a job's coverage targets cost: chosen among drawn images, and searched.

A run decides by its receipts (`plan/search.py`); this tells before it what is to be expected.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from factory.data import Sample, TargetSearch
from factory.edit.search import LayoutSampler
from factory.fit.cost import Probe
from factory.generate.latents import LatentSampler
from factory.make.accept import AcceptRules, area_of, reason_to_drop
from factory.make.compute import compute_samples
from factory.make.to_host import to_samples
from factory.manifest.coverage import Coverage
from factory.manifest.labels import DatasetLabels
from factory.plan.search import SEARCH_IMAGES, choose_way, cost_of_search
from factory.plan.targets import Target, find_targets
from factory.run.target_rounds import may_search
from factory.segment.base import AnySegmenter

_ENOUGH_HITS = 8
_MOST_IMAGES = 1024
_DRAW_S = 20.0
_SEARCHED = 8
_SEARCH_S = 60.0


@dataclass(frozen=True, slots=True)
class TargetCost:
    """What a sample for one coverage target costs, in images of the budget."""

    name: str
    """The target."""
    wanted: int
    """Samples that it asks for."""
    num_drawn: int
    """Images that were drawn to measure it."""
    by_rejection: float | None
    """Images for each sample that counts, if samples are chosen; None if none of those drawn counts."""
    by_search: float | None
    """The same if latents are searched; None if that cannot be done, was not measured, or found none.
    Where rejection takes fewer images than any search, the least that one takes."""
    way: str
    """`rejection` or `search`: the cheaper one."""


def measure_targets(
    probe: Probe, segmenter: AnySegmenter, rules: AcceptRules
) -> tuple[TargetCost, ...]:
    """Measure the costs of the targets that are about classes of the masks.

    Up to 1,024 images are drawn, and of the first 8 that count for a target the layouts are searched;
    both end early on a machine that takes long for an image. Of datasets whose samples are all searched
    for layouts, or put on backgrounds, images as they are drawn tell nothing, and there are no costs.

    Raises:
        JobError: If a target names a class that there is not.
    """
    dataset, spec = probe.dataset, probe.dataset.coverage
    if spec is None or dataset.sampling is not None or dataset.compose is not None:
        return ()
    meaning = DatasetLabels(
        labels=list(segmenter.labels),
        generator_classes=list(probe.generator.facts.class_names),
        attribution="",
        license="",
    )
    targets = [t for t in find_targets(spec, meaning, Coverage()) if t.mask_class is not None]
    if not targets:
        return ()
    drawn = _Drawn(probe, segmenter, rules, targets)
    drawn.draw()
    return tuple(drawn.cost_of(target) for target in targets)


class _Drawn:
    """Images that were drawn, and those of them that count for each target."""

    def __init__(
        self,
        probe: Probe,
        segmenter: AnySegmenter,
        rules: AcceptRules,
        targets: Sequence[Target],
    ) -> None:
        self._probe, self._segmenter, self._rules = probe, segmenter, rules
        self._sampler = LatentSampler(
            probe.generator, probe.dataset.latents, probe.dataset.generator
        )
        self._masks: dict[str, list[UInt8[np.ndarray, "h w"]]] = {t.name: [] for t in targets}
        self._hits = dict.fromkeys(self._masks, 0)
        self._targets = targets
        self._num_drawn = 0
        self._image_s = 0.0

    def draw(self) -> None:
        """Draw images until enough count for every target, or enough are drawn."""
        size, started = self._probe.dataset.batch_size, time.monotonic()
        while min(self._hits.values()) < _ENOUGH_HITS and self._num_drawn < _MOST_IMAGES:
            latents = self._sampler.draw(range(self._num_drawn, self._num_drawn + size))
            for sample in compute_samples(self._probe.generator, self._segmenter, latents, size):
                for target in self._targets:
                    if self._counts(sample, target):
                        self._hits[target.name] += 1
                        self._masks[target.name].append(sample.mask)
            self._num_drawn += size
            spent = time.monotonic() - started
            self._image_s = spent / self._num_drawn
            if spent > _DRAW_S:
                break

    def _counts(self, sample: Sample, target: Target) -> bool:
        assert target.mask_class is not None
        share = area_of(sample, target.mask_class)
        is_kept = reason_to_drop(sample, self._rules) is None
        return is_kept and share > 0 and share >= target.min_area

    def cost_of(self, target: Target) -> TargetCost:
        """What was measured for a target."""
        hits = self._hits[target.name]
        by_rejection = self._num_drawn / hits if hits else None
        by_search = self._cost_of_search(target) if hits else None
        return TargetCost(
            name=target.name,
            wanted=target.wanted,
            num_drawn=self._num_drawn,
            by_rejection=None if by_rejection is None else round(by_rejection, 1),
            by_search=None if by_search is None else round(by_search, 1),
            way=choose_way(by_rejection, by_search),
        )

    def _cost_of_search(self, target: Target) -> float | None:
        dataset, size = self._probe.dataset, self._probe.dataset.batch_size
        layouts = self._masks[target.name][:_ENOUGH_HITS]
        wanted = TargetSearch(layouts=(0,))
        num_batches = -(-_SEARCHED // size)
        if not may_search(dataset):
            return None
        if self._num_drawn / self._hits[target.name] <= SEARCH_IMAGES:
            return float(SEARCH_IMAGES)
        too_long = num_batches * size * wanted.images_each * self._image_s > _SEARCH_S
        if too_long:
            return None
        finder = LayoutSampler(wanted, self._probe.generator, self._segmenter, self._sampler)
        hits = 0
        for batch in range(num_batches):
            first = self._num_drawn + batch * size
            places = [place % len(layouts) for place in range(first, first + size)]
            masks = torch.from_numpy(np.stack([layouts[place] for place in places]))
            latents = self._sampler.draw(range(first, first + size))
            found = finder.find(latents, masks.long().to(self._probe.device))
            made = to_samples(found.batch, found.labelled, latents, size)
            hits += sum(self._counts(sample, target) for sample in made)
        return cost_of_search(num_batches * size, hits)
