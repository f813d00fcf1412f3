"""Default names and colours of unnamed classes."""

import colorsys

from factory.manifest.labels import MaskClass

_GOLDEN_RATIO = 0.618033988749895


def unnamed_labels(num_classes: int, noun: str = "cluster") -> tuple[MaskClass, ...]:
    """`cluster_00`, `cluster_01`, ... in colours that can be told apart.

    Hues step by the golden ratio, lightness alternates between three values.
    """
    return tuple(
        MaskClass(id=index, name=f"{noun}_{index:02d}", colour=colour_at(index))
        for index in range(num_classes)
    )


def colour_at(index: int) -> tuple[int, int, int]:
    """RGB, 0 to 255, of the class at `index`; the first dozens can be told apart."""
    hue = (0.58 + index * _GOLDEN_RATIO) % 1.0
    lightness = (0.5, 0.65, 0.38)[index % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)
