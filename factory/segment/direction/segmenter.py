"""The segmenter `direction`: foreground is what a shift of the latent makes lighter, or darker.

Source: Melas-Kyriazi, Rupprecht, Laina and Vedaldi 2022 (ICLR), "Finding an unsupervised image segmenter
in each of your deep generative models". Where we differ: a direction is normalised over all its
entries, also in W+; the mask that is stored is tested too; an empty mask and an image of one colour
are rejected unless the job allows them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from factory.data import LatentBatch
from factory.errors import JobError, PluginError
from factory.generate.base import Generator, GeneratorFacts, LatentShifter
from factory.generate.batch import ImageBatch, MaskBatch
from factory.manifest.labels import MaskClass
from factory.segment.direction.components import keep_large
from factory.segment.direction.curation import grey, has_area, has_two_modes, is_round, overlap
from factory.segment.mask_figures import count_px
from factory.segment.segmenter_file import decode_segmenter, read_segmenter
from factory.spec.direction import DirectionSpec

LABELS = (
    MaskClass(id=0, name="background", colour=(70, 80, 95)),
    MaskClass(id=1, name="foreground", colour=(240, 170, 40)),
)
"""Classes of the masks."""

LENGTHS_NAME, MARGINS_NAME = "lengths", "margins"
"""In the segmenter file: lengths of shifts, and for each the median difference in brightness."""

STORED_LENGTH = "stored_length"
"""Figure of an imported direction: its length over all entries as it was stored."""

TOO_SMALL, TOO_LARGE = "foreground_too_small", "foreground_too_large"
ONE_MODE, NOT_ROUND, DISAGREE = "one_mode", "not_round", "directions_disagree"
"""Reasons for rejecting a mask; they stand in receipts and must not change."""

_DIRECTION = "direction/"
_NOTICED = 1.5


def direction_name(sign: str, space: str) -> str:
    """Name of the `light` or `dark` direction in the segmenter file."""
    return f"{_DIRECTION}{sign}/{space}"


def find_directions(tensors: Mapping[str, Tensor], source: str) -> tuple[str, dict[str, Tensor]]:
    """The latent space of a segmenter file, and its directions by sign.

    Raises:
        JobError: If it holds none.
    """
    found, spaces = {}, set()
    for name, tensor in tensors.items():
        if name.startswith(_DIRECTION):
            sign, _, space = name.removeprefix(_DIRECTION).partition("/")
            found[sign] = tensor
            spaces.add(space)
    if len(spaces) != 1:
        raise JobError(f"{source}: holds no latent direction; make one with `factory fit`")
    return spaces.pop(), found


@dataclass(frozen=True, slots=True)
class Shifted:
    """Images of a batch and what the directions make of them."""

    original: Float[Tensor, "n h w"]
    """Brightness without a shift."""
    colours: dict[str, Float[Tensor, "n 3 h w"]]
    """Shifted images by sign."""

    def raise_in(self, sign: str) -> Float[Tensor, "n h w"]:
        """How much more a direction does what it is for than no shift; above 0 is foreground."""
        change = grey(self.colours[sign]) - self.original
        return change if sign == "light" else -change

    def contrast(self) -> Float[Tensor, "n h w"]:
        """The difference in brightness that makes the mask: above 0 is foreground."""
        if len(self.colours) == 1:
            return self.raise_in(*self.colours)
        return grey(self.colours["light"]) - grey(self.colours["dark"])


def shift_latents(
    generator: LatentShifter,
    latents: LatentBatch,
    space: str,
    directions: Mapping[str, Tensor],
    length: float,
) -> Shifted:
    """The images of `latents`, and those of latents `length` further along each direction."""
    count = len(latents.indices)

    def shifted(by: Tensor) -> Tensor:
        return generator.shifted(latents, space, by.expand(count, *by.shape))

    colours = {sign: shifted(length * one) for sign, one in directions.items()}
    original = shifted(torch.zeros_like(next(iter(directions.values()))))
    return Shifted(grey(original), colours)


class DirectionMasks:
    """The segmenter plugin `direction`; the protocol is `base.RenderingSegmenter`."""

    labels: tuple[MaskClass, ...] = LABELS
    layers: tuple[str, ...] = ()

    def __init__(
        self,
        spec: DirectionSpec,
        fitted: Path | None,
        facts: GeneratorFacts,
        device: torch.device,
    ) -> None:
        """Load the directions in the file `fitted`.

        Raises:
            JobError: If it is damaged, holds something else, or is for another latent space.
        """
        assert fitted is not None  # `load_segmenter` checks it
        tensors, head = read_segmenter(fitted)
        self.fitted_on = head.fitted_on
        self.num_passes = 2 + len(
            spec.signs
        )  # the image, its colours without a shift and with each
        self._spec = spec
        self._space, found = find_directions(tensors, str(fitted))
        shape = facts.spaces.get(self._space)
        missing = [sign for sign in spec.signs if sign not in found]
        if missing or any(tuple(one.shape) != shape for one in found.values()):
            raise JobError(
                f"{fitted}: holds {', '.join(found)} in {self._space!r}, where this job needs "
                f"{', '.join(spec.signs)} and its generator has {', '.join(facts.spaces)}; fit it again"
            )
        self._directions = {sign: found[sign].to(device) for sign in spec.signs}
        margins, lengths = tensors[MARGINS_NAME].numpy(), tensors[LENGTHS_NAME].numpy()
        self._typical = max(float(np.interp(spec.epsilon, lengths, margins)), 1e-6)

    def segment_latents(
        self,
        generator: Generator,
        latents: LatentBatch,
        batch: ImageBatch,  # noqa: ARG002
    ) -> MaskBatch:
        """Masks of the images of `batch`, which `generator` made of `latents`.

        A pixel's confidence is d / (d + s), where d is its difference in brightness and s the median one
        at fitting time: 0.5 for a typical pixel. It is 0 in parts that are too small to be foreground.
        """
        if not isinstance(generator, LatentShifter):
            raise PluginError(
                f"segmenter 'direction': {type(generator).__name__} has latent spaces in its facts, but "
                "no method `shifted`; add it (see factory/generate/base.py)"
            )
        spec = self._spec
        seen = shift_latents(generator, latents, self._space, self._directions, spec.epsilon)
        contrast = seen.contrast()
        raw = contrast > 0
        # All kinds of masks of all images at once: parts are found in a few passes for the whole batch.
        single = [seen.raise_in(sign) > 0 for sign in spec.signs] if len(spec.signs) > 1 else []
        mask, *others = keep_large(torch.cat([raw, *single]), spec.min_part).chunk(1 + len(single))
        change = contrast.abs()
        by_px = torch.where(mask == raw, change / (change + self._typical), 0)
        masks = mask.to(torch.uint8)
        return MaskBatch(
            masks,
            by_px.mean(dim=(1, 2)),
            count_px(masks, len(LABELS)),
            by_px,
            rejections=self._reject([mask, *others], list(seen.colours.values())),
        )

    def _reject(
        self, masks: Sequence[Bool[Tensor, "n h w"]], colours: Sequence[Float[Tensor, "n 3 h w"]]
    ) -> tuple[str, ...]:
        """The first rule that each image breaks, in the authors' order; "" if none.

        `masks` are the one that is stored, and then that of each direction if there are two.
        """
        spec, (least, most) = self._spec, self._spec.foreground_share
        rules: list[tuple[str, list[Tensor]]] = [
            (TOO_SMALL, [has_area(mask, least, 1.0) for mask in masks]),
            (TOO_LARGE, [has_area(mask, 0.0, most) for mask in masks]),
        ]
        if spec.two_modes != "off":
            plateaus = spec.two_modes == "published"
            rules.append((ONE_MODE, [has_two_modes(one, plateaus=plateaus) for one in colours]))
        if spec.min_roundness:
            rules.append((NOT_ROUND, [is_round(masks[0], spec.min_roundness)]))
        if spec.min_overlap:
            rules.append((DISAGREE, [overlap(masks[1], masks[2]) >= spec.min_overlap]))
        kept = torch.stack([torch.stack(answers).all(dim=0) for _, answers in rules], dim=1)
        words = ["", *(word for word, _ in rules)]
        broken = torch.where(kept.all(dim=1), 0, kept.int().argmin(dim=1) + 1)
        return tuple(words[rule] for rule in broken.tolist())


def find_doubts(fitted: bytes, spec: DirectionSpec) -> list[str]:
    """What a user should know of imported directions that were normalised in another way."""
    _, facts = decode_segmenter(fitted, source="the fitted segmenter")
    stored = facts.fitted_on.get(STORED_LENGTH, 1.0)
    if stored < _NOTICED:
        return []
    return [
        f"the directions are stored with length {stored:.3g} over all entries, and used with length 1: "
        f"the authors' program with {spec.epsilon:g} shifts as far as epsilon "
        f"{spec.epsilon * stored:.4g} does here"
    ]
