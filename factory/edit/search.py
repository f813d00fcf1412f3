"""Search latents whose masks have wanted layouts: the best candidates, which are then moved.

A sample is found from its own candidates, so that it is a function of the dataset and its index, as
every other sample is. A batch is as many searches at once, and the same batch gives the same bytes.
Source: Xu and Zheng, "Linear Semantics in Generative Adversarial Networks", CVPR 2021 (semantic-
conditional sampling). Where we differ: the best of all steps is kept, by IoU, and it is rendered.
"""

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.data import LatentBatch, TargetSearch
from factory.edit.descent import descend
from factory.edit.objective import Pull, count_agreeing, layout_loss, mean_iou
from factory.edit.wish import Wish
from factory.errors import JobError
from factory.generate.base import DifferentiableGenerator, Generator
from factory.generate.batch import ImageBatch, MaskBatch
from factory.generate.latents import LatentSampler
from factory.generate.numerics import finish_images
from factory.segment.base import (
    AnySegmenter,
    DifferentiableSegmenter,
    generate_and_segment,
    segment_images,
)
from factory.segment.methods import import_part
from factory.spec import METHODS, LayoutSpec

_SECTION = "dataset.sampling"


@dataclass(frozen=True, slots=True)
class Found:
    """Samples that were found, still on the device."""

    batch: ImageBatch
    """Their images."""
    labelled: MaskBatch
    """Their masks."""
    latents: LatentBatch
    """The batch; `z` are those of the best candidates."""
    z: Float[Tensor, "n rows z"]
    """The latents that the images were made of."""
    start_iou: Float[Tensor, " n"]
    """IoU of the best candidates with the layouts."""
    iou: Float[Tensor, " n"]
    """IoU of the masks with the layouts."""
    num_forwards: int
    """Images computed for each sample."""
    num_steps: int
    """Those of them with gradients."""


class LayoutSampler:
    """Finds samples with wanted layouts. Thread-safe."""

    def __init__(
        self,
        spec: LayoutSpec | TargetSearch,
        generator: Generator,
        segmenter: AnySegmenter,
        sampler: LatentSampler,
    ) -> None:
        """Prepare.

        Raises:
            JobError: If generator or segmenter cannot do what `spec` asks for.
        """
        if spec.method == "optimise":
            check_gradients(generator, segmenter)
            check_rows(generator, spec.latents)
        self.spec = spec
        self._generator = generator
        self._segmenter = segmenter
        self._sampler = sampler

    def find(self, latents: LatentBatch, layouts: Int64[Tensor, "n h w"]) -> Found:
        """Find images with `layouts` (on the device), for the samples of a batch.

        The latents of the batch are the first candidates.
        """
        if self.spec.method == "ranked":
            return self._find_ranked(latents, layouts)
        return self._find_by_descent(latents, layouts)

    def _find_ranked(self, latents: LatentBatch, layouts: Int64[Tensor, "n h w"]) -> Found:
        best, score = latents.z, np.full(len(latents.z), -1.0)
        with torch.inference_mode():
            for number in range(self.spec.candidates):
                drawn = self._sampler.draw_candidate(latents, number)
                _, labelled = generate_and_segment(self._generator, self._segmenter, drawn)
                iou = mean_iou(labelled.masks, layouts, len(self._segmenter.labels))
                best, score = _better(best, score, drawn.z, iou)
            chosen = replace(latents, z=best)
            batch, labelled = generate_and_segment(self._generator, self._segmenter, chosen)
            iou = mean_iou(labelled.masks, layouts, len(self._segmenter.labels))
        z = torch.from_numpy(best)[:, None]
        return Found(batch, labelled, chosen, z, iou, iou, self.spec.candidates + 1, 0)

    def _find_by_descent(self, latents: LatentBatch, layouts: Int64[Tensor, "n h w"]) -> Found:
        generator, segmenter = self._generator, self._segmenter
        assert isinstance(generator, DifferentiableGenerator)  # `__init__` checked both
        assert isinstance(segmenter, DifferentiableSegmenter)
        wish = Wish(generator, segmenter, latents, layouts)
        best, score = latents.z, np.full(len(latents.z), -1.0)
        with torch.inference_mode():
            for number in range(self.spec.candidates):
                drawn = self._sampler.draw_candidate(latents, number)
                masks = wish.scores(torch.from_numpy(drawn.z)[:, None].to(layouts.device)).argmax(1)
                best, score = _better(best, score, drawn.z, count_agreeing(masks, layouts))
        rows = generator.latent_rows if self.spec.latents == "per_layer" else 1
        start = torch.from_numpy(best)[:, None].repeat(1, rows, 1).to(layouts.device)
        moved = move(
            wish,
            start,
            steps=self.spec.steps,
            learning_rate=self.spec.learning_rate,
            pull=Pull(self.spec.stay, self.spec.prior),
        )
        chosen = replace(latents, z=best)
        batch, labelled = render(generator, segmenter, chosen, moved.z)
        iou = mean_iou(labelled.masks, layouts, len(segmenter.labels))
        # Every step computes an image; then come the latents after the last one, and the best again.
        forwards = self.spec.candidates + self.spec.steps + 2
        return Found(
            batch, labelled, chosen, moved.z, moved.start_iou, iou, forwards, self.spec.steps
        )


@dataclass(frozen=True, slots=True)
class Moved:
    """The best latents of a descent."""

    z: Float[Tensor, "n rows z"]
    """For each sample those of the step with the best IoU, the first one if several are equal."""
    iou: Float[Tensor, " n"]
    """That IoU, of the classes with the best scores."""
    start_iou: Float[Tensor, " n"]
    """The IoU at the start."""


def move(
    wish: Wish,
    start: Float[Tensor, "n rows z"],
    *,
    steps: int,
    learning_rate: float,
    pull: Pull,
    on_step: Callable[[int, float], None] | None = None,
) -> Moved:
    """Move `start` towards the wished layouts, and take the best of all steps.

    The loss is a mean over pixels, and says nothing of small classes; the IoU does.

    Args:
        wish: What is wanted.
        start: The first latents.
        steps: Number of steps.
        learning_rate: Learning rate of Adam.
        pull: Weights of what holds latents back.
        on_step: Called before each step with its number, from 1, and the best IoU so far, a mean over
            the batch. What it raises ends the descent.
    """
    with torch.inference_mode(mode=False):  # no gradient flows past tensors that were made in it
        wish, start = replace(wish, layouts=wish.layouts.clone()), start.clone()
    best = _Best(wish.layouts)
    count = itertools.count(1)

    def loss_of(z: Float[Tensor, "n rows z"]) -> Float[Tensor, " n"]:
        scores = wish.scores(z)
        best.note(z.detach(), scores.detach())
        if on_step is not None:
            on_step(next(count), float(best.iou.mean()))
        return layout_loss(scores, wish.layouts, z, start, pull).total

    found = descend(loss_of, start, steps=steps, learning_rate=learning_rate)
    with torch.inference_mode():
        best.note(found.after, wish.scores(found.after))
    return Moved(best.z, best.iou, best.first)


class _Best:
    """The best latents so far, by IoU."""

    def __init__(self, layouts: Int64[Tensor, "n h w"]) -> None:
        self._layouts = layouts
        self.z = self.iou = self.first = torch.empty(0)

    def note(self, z: Float[Tensor, "n rows z"], scores: Float[Tensor, "n k h w"]) -> None:
        """Look at the latents of a step; the first call is that of the start."""
        iou = mean_iou(scores.argmax(dim=1), self._layouts, scores.shape[1])
        if not self.iou.numel():
            self.z, self.iou, self.first = z.clone(), iou, iou
            return
        is_better = iou > self.iou
        self.z = torch.where(is_better[:, None, None], z, self.z)
        self.iou = torch.where(is_better, iou, self.iou)


def render(
    generator: DifferentiableGenerator,
    segmenter: AnySegmenter,
    latents: LatentBatch,
    z: Float[Tensor, "n rows z"],
) -> tuple[ImageBatch, MaskBatch]:
    """Images and masks of `z`, as a dataset has them: with clean-up and confidence."""
    with torch.inference_mode():
        batch = finish_images(generator.render(z, latents, segmenter.layers))
        return batch, segment_images(segmenter, generator, latents, batch)


def check_gradients(
    generator: object, segmenter: object, where: str = f"{_SECTION}.method"
) -> None:
    """Require that gradients flow from masks to latents; both may be classes or what they make.

    Raises:
        JobError: If they do not; the message says what serves instead.
    """
    for part, method, has in (
        (generator, "render", "generator has no gradients (no method `render`)"),
        (segmenter, "class_scores", "segmenter has no scores of classes (no `class_scores`)"),
    ):
        # Of a function that makes one, only what it makes can tell.
        if not hasattr(part, method) and not inspect.isfunction(part):
            raise JobError(
                where=where,
                found=f"this {has}, which moving latents needs",
                allowed="all our generators, and segmenters with a linear head "
                f"({', '.join(kinds_with_scores())})",
                remedy="`sampling.method: ranked` works with all",
            )


def kinds_with_scores() -> list[str]:
    """Our methods whose segmenters have scores of classes, by their kinds."""
    return [
        kind
        for kind, method in METHODS.items()
        if hasattr(import_part(kind, method.segmenter), "class_scores")
    ]


def check_rows(generator: object, latents: str, where: str = f"{_SECTION}.latents") -> None:
    """Require style rows for a latent per layer.

    Raises:
        JobError: If the generator has none.
    """
    if latents == "per_layer" and getattr(generator, "latent_rows", 1) == 1:
        raise JobError(
            where=where,
            found="found 'per_layer', but this generator has no style rows",
            remedy="use 'shared'",
        )


def _better(
    best: np.ndarray, score: np.ndarray, z: np.ndarray, found: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The better latents of each sample; the earlier ones if both are as good."""
    now = found.cpu().numpy().astype(np.float64)
    is_better = now > score
    return np.where(is_better[:, None], z, best), np.where(is_better, now, score)
