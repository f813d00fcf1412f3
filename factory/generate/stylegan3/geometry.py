"""The geometry of a StyleGAN3 or StyleGAN-XL: sizes, sampling rates and paddings. No tensors.

Source: Karras et al. 2021, "Alias-free generative adversarial networks", section 3 and appendix C
(cutoffs and rates grow geometrically, flexible layer specifications), and Sauer et al. 2022,
"StyleGAN-XL", section 3.4 (super-resolution: the stem's critically sampled layers are replaced by
new ones, so the specifications of such a file cannot be computed and must be given).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.errors import WeightsError


@dataclass(frozen=True, slots=True)
class LayerGeometry:
    """Sizes and rates of one layer."""

    name: str
    """Its name below `synthesis.`, e.g. `L3_52_512`."""
    in_size: int
    """Rows and columns of the input, margin included."""
    out_size: int
    """Rows and columns of the output, margin included."""
    in_rate: int
    """Samples per image side of the input."""
    out_rate: int
    """Samples per image side of the output."""
    is_torgb: bool
    """Whether it produces the colours: no demodulation, no non-linearity, no filters."""
    inner_rate: int
    """Samples per image side while the non-linearity is computed."""
    clamp: float | None
    """Largest magnitude after the non-linearity; None = unlimited."""

    @property
    def up(self) -> int:
        """Upsampling factor before the non-linearity."""
        return self.inner_rate // self.in_rate

    @property
    def down(self) -> int:
        """Downsampling factor after it."""
        return self.inner_rate // self.out_rate

    @property
    def margin(self) -> int:
        """Width of the margin around the image in the layer's output, in pixels."""
        return max(self.out_size - self.out_rate, 0) // 2

    def padding(self, kernel: int, up_taps: int, down_taps: int) -> tuple[int, int]:
        """Samples to add before and after on each axis, at the inner rate; negative removes."""
        total = (self.out_size - 1) * self.down + 1
        total -= (self.in_size + kernel - 1) * self.up
        total += up_taps + down_taps - 2
        before = (total + self.up) // 2
        return before, total - before


@dataclass(frozen=True, slots=True)
class InputGeometry:
    """Size and frequencies of the Fourier features, the input of the first layer."""

    size: int
    """Rows and columns, margin included."""
    rate: float
    """Samples per image side."""
    bandwidth: float
    """Highest frequency that is not attenuated."""


@dataclass(frozen=True, slots=True)
class SynthesisGeometry:
    """Sizes and rates of a whole synthesis network."""

    input: InputGeometry
    """The input of the first layer."""
    layers: tuple[LayerGeometry, ...]
    """From coarse to fine; the last produces the colours."""


def make_geometry(kwargs: Mapping[str, Any]) -> SynthesisGeometry:
    """Derive the geometry from the constructor settings `kwargs`.

    With `layer_names`, `layers` and `input` the geometry is given layer by layer; otherwise it is
    computed from `img_resolution` and the paper's constants.

    Raises:
        WeightsError: If settings are missing, or rates are not multiples of each other.
    """
    try:
        geometry = (
            _given_geometry(kwargs) if "layer_names" in kwargs else _computed_geometry(kwargs)
        )
    except (KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise WeightsError(
            f"StyleGAN3 kwargs: {type(error).__name__} {error}; needed: img_resolution, or "
            "layer_names with layers and input; convert the checkpoint again"
        ) from error
    for layer in geometry.layers:
        if layer.up * layer.in_rate != layer.down * layer.out_rate:
            raise WeightsError(
                f"StyleGAN3 layer {layer.name!r}: rates {layer.in_rate} and {layer.out_rate} are "
                "not multiples of each other; convert the checkpoint again"
            )
    return geometry


def _computed_geometry(kwargs: Mapping[str, Any]) -> SynthesisGeometry:
    resolution = int(kwargs["img_resolution"])
    num_layers = int(kwargs.get("num_layers", 14))
    margin = int(kwargs.get("margin_size", 10))
    cutoffs, rates = _cutoffs_and_rates(kwargs, resolution, num_layers)
    sizes = [rate + 2 * margin for rate in rates]
    sizes[-2:] = [resolution, resolution]
    widest, most = kwargs.get("channel_base", 32768) / 2, kwargs.get("channel_max", 512)
    channels = [round(min(widest / cutoff, most)) for cutoff in cutoffs]
    channels[-1] = int(kwargs.get("img_channels", 3))
    layers = []
    for position in range(num_layers + 1):
        before, is_torgb = max(position - 1, 0), position == num_layers
        layers.append(
            LayerGeometry(
                name=f"L{position}_{sizes[position]}_{channels[position]}",
                in_size=sizes[before],
                out_size=sizes[position],
                in_rate=rates[before],
                out_rate=rates[position],
                inner_rate=_inner_rate(kwargs, rates[before], rates[position], is_torgb=is_torgb),
                is_torgb=is_torgb,
                clamp=_clamp(kwargs),
            )
        )
    return SynthesisGeometry(
        InputGeometry(sizes[0], float(rates[0]), float(cutoffs[0])), tuple(layers)
    )


def _cutoffs_and_rates(
    kwargs: Mapping[str, Any], resolution: int, num_layers: int
) -> tuple[list[float], list[int]]:
    """Cutoff frequency and sampling rate of each layer, a geometric progression up to the last."""
    first_cutoff = kwargs.get("first_cutoff", 2)
    first_stop = kwargs.get("first_stopband", 2**2.1)
    last_cutoff = resolution / 2
    last_stop = last_cutoff * kwargs.get("last_stopband_rel", 2**0.3)
    num_free = num_layers - int(kwargs.get("num_critical", 2))
    steps = [min(position / num_free, 1) for position in range(num_layers + 1)]
    cutoffs = [first_cutoff * (last_cutoff / first_cutoff) ** step for step in steps]
    stops = [first_stop * (last_stop / first_stop) ** step for step in steps]
    rates = [2 ** math.ceil(math.log2(min(2 * stop, resolution))) for stop in stops]
    return cutoffs, rates


def _given_geometry(kwargs: Mapping[str, Any]) -> SynthesisGeometry:
    layers = tuple(_given_layer(name, kwargs["layers"][name]) for name in kwargs["layer_names"])
    source = kwargs["input"]
    return SynthesisGeometry(
        InputGeometry(
            _side(source["size"]), float(source["sampling_rate"]), float(source["bandwidth"])
        ),
        layers,
    )


def _given_layer(name: str, settings: Mapping[str, Any]) -> LayerGeometry:
    in_rate, out_rate = int(settings["in_sampling_rate"]), int(settings["out_sampling_rate"])
    is_torgb = bool(settings["is_torgb"])
    return LayerGeometry(
        name=name,
        in_size=_side(settings["in_size"]),
        out_size=_side(settings["out_size"]),
        in_rate=in_rate,
        out_rate=out_rate,
        inner_rate=_inner_rate(settings, in_rate, out_rate, is_torgb=is_torgb),
        is_torgb=is_torgb,
        clamp=_clamp(settings),
    )


def _inner_rate(settings: Mapping[str, Any], in_rate: int, out_rate: int, *, is_torgb: bool) -> int:
    if "tmp_sampling_rate" in settings:
        return int(settings["tmp_sampling_rate"])
    finer = max(in_rate, out_rate)
    return finer if is_torgb else finer * int(settings.get("lrelu_upsampling", 2))


def _clamp(settings: Mapping[str, Any]) -> float | None:
    found = settings.get("conv_clamp", 256)
    return None if found is None else float(found)


def _side(size: int | float | Sequence[int | float]) -> int:
    """The side of a square size, which checkpoints write as a number or as [width, height]."""
    if not isinstance(size, Sequence):
        return int(size)
    width, height = size
    if width != height:
        raise ValueError(f"size {width}x{height} is not square")
    return int(width)
