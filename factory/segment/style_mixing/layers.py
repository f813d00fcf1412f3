"""Resolve the `auto` settings of style mixing for a generator: first mixed layer, resolution, filter."""

from dataclasses import dataclass

from factory.errors import JobError
from factory.generate.base import GeneratorFacts, StyleFacts
from factory.segment.serving import check_generator
from factory.spec.style_mixing import StyleMixingSpec

_START_PX = 64
_STOP_PX = 128
_LEAST_PX = 16
_SMALL = 4
"""Generators below 256 px start, and below 512 px stop, at their resolution divided by this."""


@dataclass(frozen=True, slots=True)
class ResolvedMixing:
    """The settings with every `auto` replaced by a value."""

    start: str
    """Name of the first layer that takes a variant's style."""
    stop_px: int
    """Rows of the variants' colours as the generator makes them; at least `side`."""
    side: int
    """Rows at which pixels are clustered."""
    refine_px: int
    """Radius of the guided filter in image pixels; 0 = none."""


def resolve_mixing(spec: StyleMixingSpec, facts: GeneratorFacts) -> ResolvedMixing:
    """Resolve `spec` for a generator with `facts`.

    Raises:
        JobError: If the generator has no styles to mix, or a setting does not fit it.
    """
    check_generator(spec.kind, facts)
    styles = facts.styles
    assert styles is not None  # `check_generator` requires them
    start = _start(spec, facts, styles)
    height = facts.layers[start].height
    # Never below the first mixed layer: what varies between variants begins at its resolution.
    side = max(height, min(_STOP_PX, max(_LEAST_PX, facts.resolution // _SMALL)))
    stop_px = min(px for px in styles.sides if px >= side)
    if spec.stop_px != "auto":
        allowed = [px for px in styles.sides if px >= height]
        if spec.stop_px not in allowed:
            raise JobError(
                f"dataset.segmenter.stop_px: found {spec.stop_px}; from {start} on this generator "
                f"has colours at {', '.join(map(str, allowed))} px; use one of these or auto"
            )
        side = stop_px = spec.stop_px
    half = max(2, facts.resolution // side // 2)
    refine_px = half if spec.refine_px == "auto" else spec.refine_px
    return ResolvedMixing(start, stop_px, side, refine_px)


def _start(spec: StyleMixingSpec, facts: GeneratorFacts, styles: StyleFacts) -> str:
    if spec.start == "auto":
        wanted = min(_START_PX, facts.resolution // _SMALL)
        heights = [facts.layers[name].height for name in styles.layers]
        nearest = min(height for height in heights if height >= wanted)
        return styles.layers[len(heights) - 1 - heights[::-1].index(nearest)]
    if spec.start not in styles.layers:
        raise JobError(
            f"dataset.segmenter.start: found {spec.start!r}; allowed: auto, or one of "
            f"{', '.join(styles.layers)}"
        )
    return spec.start
