"""A chain of convolutions from a latent to an image, which is what a DCGAN is, recognised by its shapes.

Any file has tensors with four axes. They are a generator's only if each layer takes what the one
before it gives, the first one is transposed and widens a latent, biases and normalisations have the
widths of that reading, and nothing else is there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_CONV_AXES = 4
_FEWEST_LAYERS, _MOST_LAYERS = 2, 64
_LEAST_LATENT = 8
_LAST = ("out", "final", "output", "last", "to_rgb", "torgb")
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Link:
    """One convolution of a chain."""

    name: str
    transposed: bool
    in_channels: int
    out_channels: int
    kernel: int
    norm: str
    """The normalisation behind it; empty for none."""


Chain = tuple[Link, ...]


def find_chain(shapes: Mapping[str, tuple[int, ...]]) -> Chain | None:
    """The chain that tensors of these names and shapes are; None if they are anything else."""
    modules = _modules(shapes)
    convs = [name for name, parts in modules.items() if len(parts.get("weight", ())) == _CONV_AXES]
    if not _FEWEST_LAYERS <= len(convs) <= _MOST_LAYERS:
        return None
    # Names give the order inside one list; a lone `out` comes last, as widths confirm.
    convs.sort(key=lambda name: (name.split(".")[0] in _LAST, _natural(name)))
    norms = {name: parts for name, parts in modules.items() if name not in convs}
    links: list[Link] = []
    width = None
    for name in convs:
        link = _link(name, modules[name], width)
        if link is None:
            return None
        norm = _norm_of(name, link, norms)
        norms.pop(norm, None)
        width = link.out_channels
        links.append(Link(name, link.transposed, link.in_channels, width, link.kernel, norm))
    is_generator = links[0].in_channels >= max(_LEAST_LATENT, links[-1].out_channels + 1)
    return tuple(links) if is_generator and not norms else None


def _modules(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes by the name of the module and of the tensor in it."""
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        module, _, part = name.rpartition(".")
        modules.setdefault(module, {})[part] = shape
    return modules


def _link(name: str, parts: Mapping[str, tuple[int, ...]], width: int | None) -> Link | None:
    """The convolution `name` after a layer of `width` outputs; None if it is none, or does not fit."""
    first, second, kernel, other = parts["weight"]
    transposed = width in (None, first)
    inputs, outputs = (first, second) if transposed else (second, first)
    fits = width in (None, inputs) and kernel == other and outputs > 0
    has_bias = parts.get("bias", (outputs,)) == (outputs,)
    if not fits or not has_bias or not parts.keys() <= {"weight", "bias"}:
        return None
    return Link(name, transposed, inputs, outputs, kernel, "")


def _norm_of(name: str, link: Link, norms: Mapping[str, Mapping[str, tuple[int, ...]]]) -> str:
    """The normalisation behind a convolution: next in its list, or of the same numbers (`bn1`)."""
    fitting = [
        norm
        for norm, parts in norms.items()
        if all(parts.get(part) == (link.out_channels,) for part in _NORM_PARTS)
        and parts.keys() <= {*_NORM_PARTS, "num_batches_tracked"}
    ]
    stem, dot, number = name.rpartition(".")
    following = f"{stem}{dot}{int(number) + 1}" if number.isdecimal() else ""
    if following in fitting:
        return following
    numbers = _NUMBERS.findall(name)
    return next((norm for norm in fitting if numbers and _NUMBERS.findall(norm) == numbers), "")


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts `up.2` before `up.10`, and `deconv2` before `deconv10`."""
    return [
        (int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name) if part
    ]
