"""Compute samples from a batch of latents: generate, segment, copy to the host."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from factory.data import LatentBatch, LayoutSearch, Sample, ShardTask
from factory.edit.changes import make_change
from factory.edit.layouts import Layouts
from factory.edit.pairs import NOTHING_TO_EDIT, PairEditor
from factory.generate.base import Generator
from factory.generate.latents import LatentSampler
from factory.make.backgrounds import Backgrounds
from factory.make.compose import Composer
from factory.make.encoding import check_encoding
from factory.make.memory import Room
from factory.make.searching import ReadLayouts, Search, Searches
from factory.make.to_host import PendingSamples, start_samples, to_samples
from factory.segment.base import AnySegmenter, generate_and_segment
from factory.spec import DatasetSpec, EncodeSpec

_CPU = torch.device("cpu")
_PLAIN = EncodeSpec()


class BatchMaker:
    """Computes the samples of one dataset, a batch at a time. Thread-safe."""

    def __init__(
        self,
        dataset: DatasetSpec,
        generator: Generator,
        segmenter: AnySegmenter,
        layouts: Layouts | None = None,
        device: torch.device = _CPU,
        backgrounds: Backgrounds | None = None,
        read_layouts: ReadLayouts | None = None,
    ) -> None:
        """Hold what every batch needs.

        Args:
            dataset: The dataset.
            generator: Makes images.
            segmenter: Makes masks.
            layouts: Those of `dataset.sampling`, or the masks of `dataset.edit`; None without.
            device: Where generator and segmenter compute.
            backgrounds: Those that `dataset.compose` puts objects on; None without.
            read_layouts: Reads the masks of samples, for rounds that are searched for a coverage target.

        Raises:
            JobError: If the job names classes that generator or segmenter do not have, an encoding that
                cannot hold its images, a search that they cannot do, or composites of masks of which
                nothing says what the object is.
        """
        check_encoding(dataset, generator)
        self.dataset = dataset
        self.generator = generator
        self.segmenter = segmenter
        self._sampler = LatentSampler(generator, dataset.latents, dataset.generator)
        self._device = device
        self._layouts = layouts
        self._searches = Searches(
            dataset, generator, segmenter, self._sampler, layouts, read_layouts
        )
        self._composer = None
        if dataset.compose is not None:
            self._composer = Composer(dataset, segmenter.labels, backgrounds)
        self._editor, self._change = None, None
        if dataset.edit is not None:
            self._editor = PairEditor(dataset.edit, generator, segmenter)
            if dataset.edit.masks is None:
                seed = dataset.latents.seed
                self._change = make_change(dataset.edit, segmenter.labels, seed=seed)

    def draw(self, indices: Sequence[int], task: ShardTask | None = None) -> LatentBatch:
        """Draw the latents of samples; `task` gives the classes of a round with its own ones.

        Where masks edit samples of another dataset, the batch is that of those samples, with their
        indices: noise is drawn for them.
        """
        return self._sampler.draw([self._source_of(index) for index in indices], task)

    def _source_of(self, index: int) -> int:
        """Index of the sample whose latents sample `index` has."""
        if self._editor is None or self._layouts is None:
            return index
        return int(self._layouts.names[self._layouts.place_of(index)])

    def compute(self, first: int, count: int, task: ShardTask | None = None) -> list[Sample]:
        """Compute samples `first` to `first + count - 1` as one batch.

        A batch is padded to full size, because its size changes floating-point sums.

        Raises:
            JobError: If there is too little memory for a batch; it names the size that fits.
        """
        return self.start(first, count, task)()

    def start(self, first: int, count: int, task: ShardTask | None = None) -> PendingSamples:
        """As `compute`, without waiting for the copies to the host: the next batch can be started.

        Raises:
            JobError: If there is too little memory for a batch; it names the size that fits.
        """
        room = Room(self.dataset, self.generator, self.segmenter, self._device)
        return room.call(lambda: self._start(first, count, task))

    def _start(self, first: int, count: int, task: ShardTask | None) -> PendingSamples:
        latents = self._draw_batch(first, count, task)
        search = self._searches.of(task)
        if search is not None:
            found = self._find(search, latents, count)
            return lambda: found
        if self._editor is not None:
            edited = self._edit(self._editor, latents, first, count)
            return lambda: edited
        encode = self.dataset.encode
        return start_computing(
            self.generator, self.segmenter, latents, count, encode, self._composer
        )

    def _draw_batch(self, first: int, count: int, task: ShardTask | None) -> LatentBatch:
        last = first + count - 1
        indices = [min(first + offset, last) for offset in range(self.dataset.batch_size)]
        if self.dataset.is_chained:
            indices[count:] = [self._index_behind(last, task)] * len(indices[count:])
        return self.draw(indices, task)

    def _index_behind(self, index: int, task: ShardTask | None) -> int:
        """The sample that sample `index` lies on: the next one.

        With splits, after the last of a shard comes its first: the next shard may belong to another
        split, whose images must not be seen in this one.
        """
        if self.dataset.splits is None:
            return index + 1
        size = math.ceil(self.dataset.samples_per_shard * self.dataset.oversample)
        first = index // size * size
        if task is not None:
            first, size = task.first_index, task.num_indices
        return first + (index + 1 - first) % size

    def find_latents(
        self, first: int, count: int, index: int, task: ShardTask
    ) -> tuple[LatentBatch, Float[Tensor, "1 rows z"]]:
        """The latents that sample `index` of this batch is made of, as a batch of one."""
        latents = self._draw_batch(first, count, task)
        search = self._searches.of(task)
        found = None if search is None else search.find(latents, self._device)
        z = torch.from_numpy(latents.z)[:, None] if found is None else found.z
        own = slice(index - first, index - first + 1)
        alone = replace(
            latents,
            indices=latents.indices[own],
            z=latents.z[own],
            class_labels=latents.class_labels[own],
        )
        return alone, z[own].to(self._device)

    def _find(self, search: Search, latents: LatentBatch, count: int) -> list[Sample]:
        found = search.find(latents, self._device)
        made = to_samples(found.batch, found.labelled, latents, count, self.dataset.encode)
        ious, starts = found.iou.tolist(), found.start_iou.tolist()
        return [
            replace(
                sample,
                # The cell of a latent that was searched says nothing of what was drawn.
                latent_cell=-1,
                search=LayoutSearch(
                    layout=search.layouts.names[search.layouts.place_of(sample.index)],
                    iou=ious[place],
                    start_iou=starts[place],
                    num_forwards=found.num_forwards,
                    num_steps=found.num_steps,
                ),
            )
            for place, sample in enumerate(made)
        ]

    def _edit(
        self, editor: PairEditor, latents: LatentBatch, first: int, count: int
    ) -> list[Sample]:
        last = first + count - 1
        indices = [min(first + offset, last) for offset in range(self.dataset.batch_size)]

        def paint(mask: UInt8[np.ndarray, "h w"], place: int) -> UInt8[np.ndarray, "h w"]:
            if self._change is not None:
                return self._change.paint(mask, indices[place])
            assert self._layouts is not None  # there is a rule, or there are masks
            masks: UInt8[np.ndarray, "1 h w"] = self._layouts.masks(np.array([indices[place]]))
            painted: UInt8[np.ndarray, "h w"] = masks[0]
            return painted

        edited = editor.edit(latents, paint, self._device)
        encode = self.dataset.encode
        before = to_samples(*edited.before, latents, count, encode)
        # Confidence and alpha by pixel are stored of what was before.
        after = to_samples(*edited.after, latents, count)
        return [
            replace(
                sample,
                index=indices[place],
                rejection=sample.rejection
                or after[place].rejection
                or ("" if edited.figures[place].painted_px else NOTHING_TO_EDIT),
                edit=edited.edit_of(sample, after[place], place),
            )
            for place, sample in enumerate(before)
        ]


def compute_samples(
    generator: Generator,
    segmenter: AnySegmenter,
    latents: LatentBatch,
    count: int,
    encode: EncodeSpec = _PLAIN,
    composer: Composer | None = None,
) -> list[Sample]:
    """Compute images and masks of `latents` on the device; the first `count` are copied to the host.

    With a `composer`, of composites.

    Raises:
        JobError: If `encode` asks for confidence or alpha by pixel, and the segmenter has none.
    """
    return start_computing(generator, segmenter, latents, count, encode, composer)()


def start_computing(
    generator: Generator,
    segmenter: AnySegmenter,
    latents: LatentBatch,
    count: int,
    encode: EncodeSpec = _PLAIN,
    composer: Composer | None = None,
) -> PendingSamples:
    """As `compute_samples`, without waiting for the copies."""
    with torch.inference_mode():
        batch, labelled = generate_and_segment(generator, segmenter, latents)
        if composer is None:
            return start_samples(batch, labelled, latents, count, encode)
        composed = composer.compose(batch, labelled, latents)
    pending = start_samples(composed.batch, composed.labelled, latents, count, encode)
    return lambda: [
        replace(sample, background=name)
        for sample, name in zip(pending(), composed.names, strict=False)
    ]
