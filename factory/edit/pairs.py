"""Edit the samples of a batch: images and masks before, what is painted over them, and after.

Source: Xu and Zheng, "Linear Semantics in Generative Adversarial Networks", CVPR 2021 (semantic image
editing). Where we differ: the best of all steps is kept, by IoU with the whole wanted mask.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from factory.data import EditFigures, LatentBatch, Sample, SampleEdit
from factory.edit.figures import measure_edit
from factory.edit.objective import Pull
from factory.edit.search import check_gradients, move, render
from factory.edit.strokes import layout_of_edit
from factory.edit.wish import Wish
from factory.generate.base import DifferentiableGenerator, Generator
from factory.generate.batch import ImageBatch, MaskBatch
from factory.segment.base import AnySegmenter, DifferentiableSegmenter, generate_and_segment
from factory.spec import EditSpec

SECTION = "dataset.edit"
"""Where a job asks for edits."""

NOTHING_TO_EDIT = "nothing_to_edit"
"""Why a sample is rejected whose mask has what is painted already."""

Painter = Callable[[UInt8[np.ndarray, "h w"], int], UInt8[np.ndarray, "h w"]]
"""What is painted over a mask, given it and its place in the batch; 255 where it stays."""


@dataclass(frozen=True, slots=True)
class EditedBatch:
    """A batch before and after its edits."""

    before: tuple[ImageBatch, MaskBatch]
    """Images and masks as they were."""
    after: tuple[ImageBatch, MaskBatch]
    """Images and masks as they are now."""
    figures: tuple[EditFigures, ...]
    """What changed in each."""
    num_forwards: int
    """Images computed for each, both of the pair included."""
    num_steps: int
    """Those of them with gradients."""

    def edit_of(self, before: Sample, after: Sample, place: int) -> SampleEdit:
        """What is stored of the edit of one sample, as it was before, with what came of it."""
        return SampleEdit(
            source=before.index,
            image=after.image,
            mask=after.mask,
            class_px=after.class_px,
            confidence=after.confidence,
            figures=self.figures[place],
            num_forwards=self.num_forwards,
            num_steps=self.num_steps,
            rgba=after.rgba,
        )


class PairEditor:
    """Edits samples. Thread-safe."""

    def __init__(self, spec: EditSpec, generator: Generator, segmenter: AnySegmenter) -> None:
        """Prepare.

        Raises:
            JobError: If generator or segmenter have no gradients.
        """
        check_gradients(generator, segmenter, where=SECTION)
        self._spec = spec
        self._generator = generator
        self._segmenter = segmenter

    def edit(self, latents: LatentBatch, paint: Painter, device: torch.device) -> EditedBatch:
        """Edit the samples of a batch as `paint` says."""
        generator, segmenter, spec = self._generator, self._segmenter, self._spec
        assert isinstance(generator, DifferentiableGenerator)  # `__init__` checked both
        assert isinstance(segmenter, DifferentiableSegmenter)
        with torch.inference_mode():
            batch, labelled = generate_and_segment(generator, segmenter, latents)
        masks = labelled.masks.cpu().numpy()
        painted = np.stack([paint(mask, place) for place, mask in enumerate(masks)])
        wanted = layout_of_edit(*(torch.from_numpy(one) for one in (masks.copy(), painted)))
        moved = move(
            Wish(generator, segmenter, latents, wanted.to(device)),
            self._start(latents).to(device),
            steps=spec.steps,
            learning_rate=spec.learning_rate,
            pull=Pull(spec.stay, spec.prior),
        )
        after = render(generator, segmenter, latents, moved.z)
        images = [one.images.cpu().numpy() for one in (batch, after[0])]
        both = [masks, after[1].masks.cpu().numpy()]
        figures = tuple(
            measure_edit((images[0][i], images[1][i]), (both[0][i], both[1][i]), painted[i])
            for i in range(len(masks))
        )
        # Before, every step, after the last step, and the best again.
        return EditedBatch((batch, labelled), after, figures, spec.steps + 3, spec.steps)

    def _start(self, latents: LatentBatch) -> Float[Tensor, "n rows z"]:
        rows = (
            getattr(self._generator, "latent_rows", 1) if self._spec.latents == "per_layer" else 1
        )
        return torch.from_numpy(latents.z)[:, None].repeat(1, rows, 1)
