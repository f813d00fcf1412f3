"""What a search for layouts costs, measured: seconds and memory of a candidate and of a step."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.data import LatentBatch
from factory.edit.descent import descend
from factory.edit.objective import Pull
from factory.edit.wish import Wish
from factory.generate.base import DifferentiableGenerator, Generator
from factory.segment.base import AnySegmenter, DifferentiableSegmenter
from factory.spec import EditSpec, LayoutSpec

_STEPS = 2


@dataclass(frozen=True, slots=True)
class SearchCost:
    """The cost of a search, beside that of a plain batch."""

    batch_s: float
    """Seconds for each batch, with all its candidates and steps."""
    num_forwards: int
    """Images that are computed for each sample, itself included."""
    memory_bytes: int
    """Memory of what a step keeps for its gradients, of one batch; 0 without steps."""


def measure_search(
    spec: LayoutSpec,
    generator: Generator,
    segmenter: AnySegmenter,
    latents: LatentBatch,
    layouts: Int64[Tensor, "n h w"],
    plain_s: float,
) -> SearchCost:
    """Measure a few steps of the search that `spec` asks for; `plain_s` are those of a plain batch."""
    if spec.method == "ranked":
        return SearchCost(spec.candidates * plain_s, spec.candidates + 1, 0)
    assert isinstance(generator, DifferentiableGenerator)  # the search was built before
    assert isinstance(segmenter, DifferentiableSegmenter)
    wish = Wish(generator, segmenter, latents, layouts)
    rows = generator.latent_rows if spec.latents == "per_layer" else 1
    start = torch.from_numpy(latents.z)[:, None].repeat(1, rows, 1).to(layouts.device)
    with torch.inference_mode():
        candidate_s = _seconds(lambda: wish.scores(start))
    step_s, memory_bytes = _measure_step(
        wish, start, spec.learning_rate, Pull(spec.stay, spec.prior)
    )
    total_s = spec.candidates * candidate_s + spec.steps * step_s + candidate_s
    return SearchCost(total_s, spec.candidates + spec.steps + 2, memory_bytes)


def measure_edits(
    spec: EditSpec,
    generator: Generator,
    segmenter: AnySegmenter,
    latents: LatentBatch,
    masks: Int64[Tensor, "n h w"],
) -> SearchCost:
    """Measure a few steps of the edits that `spec` asks for; `masks` are those of the samples."""
    assert isinstance(generator, DifferentiableGenerator)  # whoever edits requires both
    assert isinstance(segmenter, DifferentiableSegmenter)
    wish = Wish(generator, segmenter, latents, masks)
    rows = generator.latent_rows if spec.latents == "per_layer" else 1
    start = torch.from_numpy(latents.z)[:, None].repeat(1, rows, 1).to(masks.device)
    step_s, memory_bytes = _measure_step(
        wish, start, spec.learning_rate, Pull(spec.stay, spec.prior)
    )
    with torch.inference_mode():
        plain_s = _seconds(lambda: wish.scores(start))
    return SearchCost(spec.steps * step_s + 2 * plain_s, spec.steps + 3, memory_bytes)


def _measure_step(
    wish: Wish, start: Float[Tensor, "n rows z"], learning_rate: float, pull: Pull
) -> tuple[float, int]:
    """Seconds of a step, and the bytes that it keeps for its gradients."""
    kept = _Kept()

    def step() -> None:
        with torch.autograd.graph.saved_tensors_hooks(kept.note, lambda tensor: tensor):
            descend(
                lambda z: wish.loss(z, start, pull).total,
                start,
                steps=_STEPS,
                learning_rate=learning_rate,
            )

    step_s = _seconds(step) / _STEPS
    return step_s, kept.num_bytes // (2 * _STEPS)


class _Kept:
    """Counts the bytes that autograd keeps; tensors that share memory count once."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._known: dict[int, Tensor] = {}

    def note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        # The tensors are held until the end of a measurement, so that no address is used again.
        if storage.data_ptr() not in self._known:
            self._known[storage.data_ptr()] = tensor
            self.num_bytes += storage.nbytes()
        return tensor


def _seconds(do: Callable[[], object]) -> float:
    do()  # the first call warms everything up
    started = time.perf_counter()
    do()
    return time.perf_counter() - started
