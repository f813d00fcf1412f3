"""Convert StyleGAN2 state dicts of rosinality's program to NVIDIA's tensor names.

The network is the same: weights have a leading axis of one, and stored blur kernels include the factor
4 of upsampling. Channel numbers and depths are read from shapes, never from flags.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.families.stylegan2 import LR_MULTIPLIER, default_filter
from factory.checkpoint.pickles.source import refuse
from factory.identity import counter_rng

_UP_GAIN = 4
_MAP_AXES = 4


def map_rosinality(state: StateDict) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Convert to NVIDIA's names; returns tensors, the program's fixed settings, and assumptions.

    Raises:
        WeightsError: If a tensor is missing or left over.
    """
    mapper = _Mapper(state)
    last = 0
    while f"convs.{2 * last}.conv.weight" in state.tensors:
        last += 1
    depth = 0
    while f"style.{depth + 1}.weight" in state.tensors:
        depth += 1
    for number in range(depth):
        for part in ("weight", "bias"):
            mapper.move(f"style.{number + 1}.{part}", f"mapping.fc{number}.{part}")
    mapper.move("input.input", "synthesis.b4.const", lambda tensor: tensor[0])
    mapper.conv("conv1", "synthesis.b4.conv1", noise=0, resolution=4)
    mapper.rgb("to_rgb1", "synthesis.b4")
    for block in range(last):
        resolution = 8 << block
        name = f"synthesis.b{resolution}"
        mapper.conv(f"convs.{2 * block}", f"{name}.conv0", 2 * block + 1, resolution)
        mapper.conv(f"convs.{2 * block + 1}", f"{name}.conv1", 2 * block + 2, resolution)
        mapper.rgb(f"to_rgbs.{block}", name)
    mapper.move_average()
    return mapper.finish()


def _scalar(tensor: Tensor) -> Tensor:
    if tensor.numel() != 1:
        raise ValueError("a noise strength is one number")
    return tensor.reshape(())


def _map(tensor: Tensor) -> Tensor:
    if tensor.ndim != _MAP_AXES:
        raise ValueError("a noise map has four axes")
    return tensor[0, 0]


class _Mapper:
    """Moves tensors to new names one by one; whatever remains at the end is an error."""

    def __init__(self, state: StateDict) -> None:
        self.file = state.file
        self.left = dict(state.tensors)
        self.extras = state.extras
        self.made: dict[str, Tensor] = {}
        self.without_noise = 0

    def take(self, name: str) -> Tensor:
        if name not in self.left:
            self._refuse(f"tensor {name!r} is missing")
        return self.left.pop(name)

    def move(self, old: str, new: str, change: Callable[[Tensor], Tensor] | None = None) -> None:
        tensor = self.take(old)
        if change is not None and (tensor.ndim == 0 or tensor.shape[0] != 1):
            self._refuse(f"tensor {old!r} has shape {tuple(tensor.shape)}, no leading 1")
        try:
            self.made[new] = tensor if change is None else change(tensor).contiguous()
        except ValueError as error:
            self._refuse(f"tensor {old!r} has shape {tuple(tensor.shape)}: {error}")

    def conv(self, old: str, new: str, noise: int, resolution: int) -> None:
        self.move(f"{old}.conv.weight", f"{new}.weight", lambda tensor: tensor[0])
        self.move(f"{old}.conv.modulation.weight", f"{new}.affine.weight")
        self.move(f"{old}.conv.modulation.bias", f"{new}.affine.bias")
        self.move(f"{old}.activate.bias", f"{new}.bias")
        self.move(f"{old}.noise.weight", f"{new}.noise_strength", _scalar)
        self._filter(f"{old}.conv.blur.kernel", f"{new}.resample_filter")
        if f"noises.noise_{noise}" in self.left:
            self.move(f"noises.noise_{noise}", f"{new}.noise_const", _map)
        else:
            self.without_noise += 1
            drawn = counter_rng("seeding", 0, 1, substream=noise).standard_normal((resolution,) * 2)
            self.made[f"{new}.noise_const"] = torch.from_numpy(drawn).float()

    def rgb(self, old: str, block: str) -> None:
        self.move(f"{old}.conv.weight", f"{block}.torgb.weight", lambda tensor: tensor[0])
        self.move(f"{old}.conv.modulation.weight", f"{block}.torgb.affine.weight")
        self.move(f"{old}.conv.modulation.bias", f"{block}.torgb.affine.bias")
        self.move(f"{old}.bias", f"{block}.torgb.bias", lambda tensor: tensor.reshape(-1))
        self._filter(f"{old}.upsample.kernel", f"{block}.resample_filter")

    def _filter(self, old: str, new: str) -> None:
        kernel = self.left.pop(old, None)
        self.made[new] = default_filter() if kernel is None else kernel / _UP_GAIN

    def move_average(self) -> None:
        average = self.extras.get("latent_avg", self.left.pop("latent_avg", None))
        if average is not None:
            self.made["mapping.w_avg"] = average.reshape(-1).clone()

    def finish(self) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
        if self.left:
            self._refuse(f"tensor {sorted(self.left)[0][:80]!r} is left over")
        assumptions = []
        if self.without_noise:
            assumptions.append(
                f"{self.without_noise} noise maps drawn from a fixed seed: the file has no noises.*, so "
                "images with noise 'const' differ slightly from the original program's"
            )
        kwargs = {
            "mapping_kwargs": {"lr_multiplier": LR_MULTIPLIER},
            "synthesis_kwargs": {"conv_clamp": None, "architecture": "skip", "num_fp16_res": 0},
        }
        return self.made, kwargs, assumptions

    def _refuse(self, found: str) -> NoReturn:
        refuse(
            self.file, found, "names and shapes are those of rosinality's StyleGAN2",
            "it is another architecture, or not whole; ask for support of this fork",
        )  # fmt: skip
