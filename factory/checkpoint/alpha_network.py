"""Read alpha networks that Labels4Free's authors released (`NNNNNN.pt`), without executing anything.

Such a file is a whole training: `g`, `d`, `bg_extractor`, `bg_extractor_ema`, optimisers and `args` (an
`argparse.Namespace`, which is parsed and never made). The network has one of two layouts, which name the
same convolutions differently. `bg_extractor_ema` holds the weights of the last step: their average was
never stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from factory.checkpoint.files.content import Content, open_content
from factory.checkpoint.pickles.nodes import TensorView
from factory.checkpoint.pickles.source import DISTRUST, refuse
from factory.checkpoint.pickles.tensors import torch_tensor
from factory.errors import WeightsError

_NETWORKS = ("bg_extractor_ema", "bg_extractor")
"""Where a file has the network; the authors' test program reads the first."""

_PARALLEL = "module."
"""Prefix of names in a training on several devices."""

_ALLOWED = "an alpha network of Labels4Free is allowed"
_MOST_RESOLUTIONS, _MOST_CHANNELS = 10, 2**16
_REDUCED, _WIDTH = 3, 6


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 1x1 convolution, float32."""

    weight: Tensor
    """Outputs by inputs."""
    bias: Tensor
    """By output."""


@dataclass(frozen=True, slots=True)
class ReleasedAlpha:
    """An alpha network as it is stored."""

    maps: tuple[Convolution, ...]
    """One for each feature map, two of each resolution, from coarse to fine."""
    merges: tuple[Convolution, ...]
    """One for each resolution but the coarsest and the finest."""
    last: Convolution
    """The output."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each feature map."""
        return tuple(one.weight.shape[1] for one in self.maps)


def read_alpha_network(path: Path) -> ReleasedAlpha:
    """Read the file at `path`.

    Raises:
        WeightsError: If it holds no whole alpha network, or asks for anything but data.
    """
    try:
        content = open_content(path)
        return arrange(_find_state(path, content), str(path))
    except RecursionError as error:
        raise WeightsError(f"{path}: its parts are nested too deep; {DISTRUST}") from error


def arrange(state: Mapping[str, Tensor], source: str) -> ReleasedAlpha:
    """Put the tensors of either layout into order.

    Args:
        state: Tensors by the authors' names.
        source: The file, as errors name it.

    Raises:
        WeightsError: If they are not those of one alpha network.
    """
    count = len([name for name in state if name.endswith(".weight") and _is_map(name)]) // 2
    if not 2 <= count <= _MOST_RESOLUTIONS:
        _refuse(source, f"feature maps of {count} resolutions")
    map_names, merge_names = _names(state, count)
    wanted = [*map_names, *merge_names, "conv_n"]
    surplus = sorted({name.rpartition(".")[0] for name in state}.difference(wanted))
    if surplus:
        _refuse(source, f"a part {surplus[0][:40]!r} that no such network has")
    return ReleasedAlpha(
        maps=tuple(_take(state, name, _REDUCED, None, source) for name in map_names),
        merges=tuple(_take(state, name, _WIDTH, 2 * _WIDTH, source) for name in merge_names),
        last=_take(state, "conv_n", 1, _WIDTH, source),
    )


def _is_map(name: str) -> bool:
    """Whether a name is that of a convolution which reads a feature map."""
    stem = name.removesuffix(".weight")
    return stem.startswith("conv_fns") or stem.removeprefix("conv").isdecimal()


def _names(state: Mapping[str, Tensor], count: int) -> tuple[list[str], list[str]]:
    """The authors' names of the maps' convolutions and of the merges, from coarse to fine."""
    if "conv_fns0.0.weight" in state:
        maps = [f"conv_fns{one}.{place}" for place in range(count) for one in (0, 1)]
        return maps, [f"conv_merge_fns.{place}" for place in range(count - 2)]
    merges = [f"conv_next{place or ''}" for place in (0, *range(2, count - 1))][: count - 2]
    return [f"conv{number}" for number in range(1, 2 * count + 1)], merges


def _take(
    state: Mapping[str, Tensor], name: str, outputs: int, inputs: int | None, source: str
) -> Convolution:
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    if weight is None or bias is None:
        _refuse(source, f"no whole {name!r}")
    fits = weight.ndim == 4 and tuple(weight.shape[2:]) == (1, 1) and len(weight) == outputs
    if not fits or tuple(bias.shape) != (outputs,) or inputs not in (None, weight.shape[1]):
        shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        _refuse(source, f"{name!r} of shapes {shapes}")
    if not 1 <= weight.shape[1] <= _MOST_CHANNELS:
        _refuse(source, f"{name!r} of {weight.shape[1]:,} channels")
    weight, bias = weight[:, :, 0, 0].float(), bias.float()
    # A float64 may be finite and not fit into float32.
    if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        _refuse(source, f"{name!r} with numbers that are not finite in float32")
    return Convolution(weight, bias)


def _find_state(path: Path, content: Content) -> dict[str, Tensor]:
    found = content.found
    if content.tensors is not None:
        _refuse(str(path), "a safetensors file")
    parts: Sequence[object] = ()
    if isinstance(found, dict):
        parts = [found[name] for name in _NETWORKS if isinstance(found.get(name), dict)]
    if not parts:
        _refuse(str(path), f"no alpha network in it ({' or '.join(_NETWORKS)})")
    state = parts[0]
    assert isinstance(state, dict)
    tensors = {}
    for name, view in state.items():
        if not isinstance(name, str) or not isinstance(view, TensorView):
            _refuse(str(path), f"a part {str(name)[:40]!r} that is no tensor")
        plain = name.removeprefix(_PARALLEL)
        if plain in tensors:
            _refuse(str(path), f"{plain[:40]!r} twice, with and without {_PARALLEL!r}")
        tensors[plain] = torch_tensor(view, content.budget)
    return tensors


def _refuse(source: str, found: str) -> NoReturn:
    refuse(source, found, _ALLOWED, "get the file again, or fit on real pictures instead")
