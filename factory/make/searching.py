"""Which search a batch needs, if any: that of its dataset, or of its round for a coverage target."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from factory.data import LatentBatch, ShardTask, TargetSearch
from factory.edit.layouts import Layouts
from factory.edit.search import Found, LayoutSampler
from factory.generate.base import Generator
from factory.generate.latents import LatentSampler
from factory.segment.base import AnySegmenter
from factory.spec import DatasetSpec

ReadLayouts = Callable[[Sequence[int], str], Layouts | None]
"""Reads the masks of those samples, by index, that are in a split; None if none is."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search, and the layouts that it wants."""

    sampler: LayoutSampler
    """The search."""
    layouts: Layouts
    """The layouts."""

    def find(self, latents: LatentBatch, device: torch.device) -> Found:
        """Find latents whose masks have the layouts of their samples."""
        wanted = torch.from_numpy(self.layouts.masks(latents.indices)).long()
        return self.sampler.find(latents, wanted.to(device))


class Searches:
    """The searches of one dataset. Thread-safe."""

    def __init__(
        self,
        dataset: DatasetSpec,
        generator: Generator,
        segmenter: AnySegmenter,
        sampler: LatentSampler,
        layouts: Layouts | None,
        read_layouts: ReadLayouts | None,
    ) -> None:
        """Prepare; `layouts` are those of `dataset.sampling`, if there are any.

        Raises:
            JobError: If generator or segmenter cannot be searched, and the dataset needs it.
        """
        self._parts = generator, segmenter, sampler
        self._read_layouts = read_layouts
        self._of_round: tuple[TargetSearch, dict[str, Search | None]] | None = None
        self._lock = threading.Lock()
        self._of_dataset = None
        if dataset.sampling is not None:
            assert layouts is not None  # a dataset with the setting has them
            self._of_dataset = Search(LayoutSampler(dataset.sampling, *self._parts), layouts)

    def of(self, task: ShardTask | None) -> Search | None:
        """How the latents of a task are searched; None if they are used as they are drawn.

        A round's search wants masks of samples in the task's own split. Where there are none, the best
        of the samples that are drawn are kept.

        Raises:
            DamageError: If a sample whose mask is wanted is missing or damaged.
        """
        wanted = task.steering.search if task is not None and task.steering is not None else None
        if wanted is None or task is None:
            return self._of_dataset
        with self._lock:  # several batches of a round start at once, and one reads for all
            if self._of_round is None or self._of_round[0] != wanted:
                self._of_round = wanted, {}
            found = self._of_round[1]
            if task.split not in found:
                assert self._read_layouts is not None  # whoever makes rounds of a plan gives it
                layouts = self._read_layouts(wanted.layouts, task.split)
                sampler = LayoutSampler(wanted, *self._parts)
                found[task.split] = Search(sampler, layouts) if layouts is not None else None
            return found[task.split]
