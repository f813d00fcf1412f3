"""Convert StyleGAN2 state dicts of rosinality's program to NVIDIA's tensor names.

The network is the same: weights have a leading axis of one, and stored blur kernels include the factor
4 of upsampling. Channel numbers and depths are read from shapes, never from flags. pixel2style2pixel
and its relatives keep such a generator as their decoder, with one mean style per style row.
"""

from typing import Any

from torch import Tensor

from factory.checkpoint.families.renaming import Renaming, first, first_map, scalar
from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.families.stylegan2 import LR_MULTIPLIER, default_filter

_UP_GAIN = 4


def map_rosinality(
    state: StateDict, given: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Convert to NVIDIA's names; returns tensors, the program's settings with `given`, assumptions.

    Raises:
        WeightsError: If a tensor is missing or left over.
    """
    names = Renaming(state, "rosinality")
    last = state.count("convs.{}.conv.weight") // 2
    for number in range(state.count_from(1, "style.{}.weight")):
        for part in ("weight", "bias"):
            names.move(f"style.{number + 1}.{part}", f"mapping.fc{number}.{part}")
    names.move("input.input", "synthesis.b4.const", first)
    _conv(names, "conv1", "synthesis.b4.conv1", noise=0, resolution=4)
    _rgb(names, "to_rgb1", "synthesis.b4")
    for block in range(last):
        resolution = 8 << block
        name = f"synthesis.b{resolution}"
        _conv(names, f"convs.{2 * block}", f"{name}.conv0", 2 * block + 1, resolution)
        _conv(names, f"convs.{2 * block + 1}", f"{name}.conv1", 2 * block + 2, resolution)
        _rgb(names, f"to_rgbs.{block}", name)
    centre = _move_centre(names, state)
    tensors, assumptions = names.finish()
    kwargs = {
        "mapping_kwargs": {"lr_multiplier": LR_MULTIPLIER},
        "synthesis_kwargs": {"conv_clamp": None, "architecture": "skip", "num_fp16_res": 0},
    }
    return tensors, {**kwargs, **given}, [*assumptions, *centre]


def _conv(names: Renaming, old: str, new: str, noise: int, resolution: int) -> None:
    names.move(f"{old}.conv.weight", f"{new}.weight", first)
    names.move(f"{old}.conv.modulation.weight", f"{new}.affine.weight")
    names.move(f"{old}.conv.modulation.bias", f"{new}.affine.bias")
    names.move(f"{old}.activate.bias", f"{new}.bias")
    names.move(f"{old}.noise.weight", f"{new}.noise_strength", scalar)
    _filter(names, f"{old}.conv.blur.kernel", f"{new}.resample_filter")
    if f"noises.noise_{noise}" in names:
        names.move(f"noises.noise_{noise}", f"{new}.noise_const", first_map)
    else:
        names.draw_noise(f"{new}.noise_const", resolution, lane=noise)


def _rgb(names: Renaming, old: str, block: str) -> None:
    names.move(f"{old}.conv.weight", f"{block}.torgb.weight", first)
    names.move(f"{old}.conv.modulation.weight", f"{block}.torgb.affine.weight")
    names.move(f"{old}.conv.modulation.bias", f"{block}.torgb.affine.bias")
    names.move(f"{old}.bias", f"{block}.torgb.bias", lambda tensor: first(tensor).reshape(-1))
    _filter(names, f"{old}.upsample.kernel", f"{block}.resample_filter")


def _filter(names: Renaming, old: str, new: str) -> None:
    names.made[new] = names.take(old) / _UP_GAIN if old in names else default_filter()


def _move_centre(names: Renaming, state: StateDict) -> list[str]:
    """Take the mean style, if there is one; pSp repeats it for every style row."""
    centre = state.extras.get("latent_avg", names.left.pop("latent_avg", None))
    if centre is None:
        return []
    rows = centre.reshape(-1, centre.shape[-1]) if centre.ndim else centre.reshape(1, 1)
    are_equal = bool((rows == rows[0]).all())
    names.made["mapping.w_avg"] = rows[0].clone() if are_equal else rows.mean(dim=0)
    return (
        []
        if are_equal
        else [f"latent_avg has {len(rows)} rows that differ: their mean is taken as the mean style"]
    )
