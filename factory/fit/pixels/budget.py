"""What a fit may hold in memory, and how many pixels that is. Pure arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass

from factory.errors import JobError
from factory.fit.pixels.sampling import Sampling, choose_layers
from factory.generate.base import GeneratorFacts
from factory.segment.segmenter_file import Corners
from factory.spec import FitSpec
from factory.spec.fit import LayerNames

MOST_PIXELS = 4096
"""Pixels per image that `auto` never exceeds: beyond them neighbours repeat each other."""

SEEDING_PIXELS = 8192
"""Pixels that k-means tries its seedings on."""

FLOAT_BYTES = 4
"""Bytes of a number of a feature vector."""

_WORK_BYTES = 96 * 2**20


@dataclass(frozen=True, slots=True)
class HeldBytes:
    """What a method holds beside the feature vectors of its pixels, in bytes."""

    per_pixel: int
    """Beside each vector."""
    fixed: int
    """However many pixels there are, at its largest."""


def plan_sampling(
    layers: LayerNames,
    fit: FitSpec,
    facts: GeneratorFacts,
    held: Callable[[int], HeldBytes],
    corners: Corners = "aligned",
) -> Sampling:
    """Which pixels to fit on: as many as the job says, or as its memory holds.

    `held` is asked what the method holds, given the length of a pixel's vector; `corners` is how maps
    are read.

    Raises:
        JobError: If a layer is unknown, or the pixels do not fit `fit.memory_gib`.
    """
    names = choose_layers(layers, facts)
    widths = tuple(facts.layers[name].channels for name in names)
    channels = sum(widths)
    beside = held(channels)
    fixed = _WORK_BYTES + beside.fixed
    per_pixel = FLOAT_BYTES * channels + beside.per_pixel
    most = max(int((fit.memory_gib * 2**30 - fixed) // per_pixel), 0)
    asked = fit.pixels_per_image
    wanted = min(most // fit.num_images, MOST_PIXELS) if asked == "auto" else asked
    if wanted < 1 or wanted * fit.num_images > most:
        needed = fixed + max(wanted, 1) * fit.num_images * per_pixel
        raise JobError(_refusal(fit, channels, most, needed))
    return Sampling(names, widths, fit.num_images, wanted, fit.seed, corners)


def most_pixels(fit: FitSpec) -> int:
    """Pixels of all images, before it is known how many `auto` will be."""
    asked = fit.pixels_per_image
    return fit.num_images * (MOST_PIXELS if asked == "auto" else asked)


def _refusal(fit: FitSpec, channels: int, most: int, needed: int) -> str:
    per_image = most // fit.num_images
    wanted = 1 if fit.pixels_per_image == "auto" else fit.pixels_per_image
    lower = f"ask for at most {per_image} or `auto`" if per_image else "lower fit.num_images"
    return (
        f"dataset.segmenter.fit.pixels_per_image: found {fit.pixels_per_image}; {fit.num_images} "
        f"images x {wanted} pixels x {channels} channels need {needed / 2**30:.2f} GiB and "
        f"fit.memory_gib allows {fit.memory_gib:g}; {lower}, or raise fit.memory_gib"
    )
