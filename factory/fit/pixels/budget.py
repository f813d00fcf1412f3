"""What a fit may hold in memory, and how many pixels that is. Pure arithmetic."""

from factory.errors import JobError
from factory.fit.pixels.sampling import NUM_PARTS, Sampling, choose_layers
from factory.fit.pixels.separation import MOST_BYTES
from factory.generate.base import GeneratorFacts
from factory.spec import FitSpec, KlishSpec, KMeansSpec

MOST_PIXELS = 4096
"""Pixels per image that `auto` never exceeds: beyond them neighbours repeat each other."""

SEEDING_PIXELS = 8192
"""Pixels that k-means tries its seedings on."""

_WORK_BYTES = 96 * 2**20
_FLOAT = 4


def plan_sampling(spec: KlishSpec | KMeansSpec, facts: GeneratorFacts) -> Sampling:
    """Which pixels to fit on: as many as the job says, or as its memory holds.

    Raises:
        JobError: If a layer is unknown, or the pixels do not fit `fit.memory_gib`.
    """
    layers = choose_layers(spec.layers, facts)
    widths = tuple(facts.layers[layer].channels for layer in layers)
    most = _most_pixels(spec, sum(widths))
    asked = spec.fit.pixels_per_image
    wanted = min(most // spec.fit.num_images, MOST_PIXELS) if asked == "auto" else asked
    if wanted < 1 or wanted * spec.fit.num_images > most:
        raise JobError(_refusal(spec, sum(widths), most))
    return Sampling(layers, widths, spec.fit.num_images, wanted, spec.fit.seed)


def _most_pixels(spec: KlishSpec | KMeansSpec, channels: int) -> int:
    room = spec.fit.memory_gib * 2**30 - _fixed_bytes(spec, channels)
    return max(int(room // _bytes_per_pixel(spec, channels)), 0)


def _bytes_per_pixel(spec: KlishSpec | KMeansSpec, channels: int) -> int:
    """A vector; for KLiSH the scores of all clusters and the pixel's own cluster too."""
    held = _FLOAT * spec.initial_clusters + 1 if isinstance(spec, KlishSpec) else 0
    return _FLOAT * channels + held


def _fixed_bytes(spec: KlishSpec | KMeansSpec, channels: int) -> int:
    """What does not grow with the pixels, at its largest: seeding, Lloyd's sums, or the planes."""
    count = spec.initial_clusters if isinstance(spec, KlishSpec) else spec.num_clusters
    clusters = 2 * SEEDING_PIXELS * channels * _FLOAT + NUM_PARTS * count * channels * 2 * _FLOAT
    planes = 0
    if isinstance(spec, KlishSpec):
        curves = max(MOST_BYTES, NUM_PARTS * (channels + 1) ** 2 * _FLOAT)
        planes = curves + curves // 2 + 4 * count * channels * _FLOAT
    return _WORK_BYTES + max(clusters, planes)


def _refusal(spec: KlishSpec | KMeansSpec, channels: int, most: int) -> str:
    fit: FitSpec = spec.fit
    per_image = most // fit.num_images
    wanted = 1 if fit.pixels_per_image == "auto" else fit.pixels_per_image
    needed = _fixed_bytes(spec, channels)
    needed += wanted * fit.num_images * _bytes_per_pixel(spec, channels)
    lower = f"ask for at most {per_image} or `auto`" if per_image else "lower fit.num_images"
    return (
        f"dataset.segmenter.fit.pixels_per_image: found {fit.pixels_per_image}; {fit.num_images} "
        f"images x {wanted} pixels x {channels} channels need {needed / 2**30:.2f} GiB and "
        f"fit.memory_gib allows {fit.memory_gib:g}; {lower}, or raise fit.memory_gib"
    )
