"""One StyleGAN2 under the names of several programs."""

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def as_genforce(tensors: Tensors, *, older: bool = False) -> Tensors:
    """NVIDIA's tensors under genforce's names; `older` is the layout of KLiSH and LinearGAN."""
    made: Tensors = {"truncation.w_avg": tensors["mapping.w_avg"]}
    dense = "fc.weight" if older else "weight"
    depth = sum(name.startswith("mapping.fc") for name in tensors) // 2
    for number in range(depth):
        made[f"mapping.dense{number}.{dense}"] = tensors[f"mapping.fc{number}.weight"]
        made[f"mapping.dense{number}.bias"] = tensors[f"mapping.fc{number}.bias"]
    made["synthesis.early_layer.const"] = tensors["synthesis.b4.const"][None]
    block = 0
    while f"synthesis.b{4 << block}.conv1.weight" in tensors:
        name = f"synthesis.b{4 << block}"
        for layer, conv in ((2 * block - 1, "conv0"), (2 * block, "conv1")):
            if f"{name}.{conv}.weight" in tensors:
                made |= _genforce_layer(tensors, f"{name}.{conv}", f"synthesis.layer{layer}", older)
        if f"{name}.torgb.weight" in tensors:
            made |= _genforce_layer(tensors, f"{name}.torgb", f"synthesis.output{block}", older)
        if f"{name}.skip.weight" in tensors:
            old = f"synthesis.skip_layer{block - 1}"
            weight = tensors[f"{name}.skip.weight"].flip(2, 3)
            made[f"{old}.weight"] = weight.permute(2, 3, 1, 0) if older else weight
            made[f"{old}.filter.kernel"] = _kernel(tensors[f"{name}.skip.resample_filter"])
        block += 1
    if "synthesis.b4.torgb.weight" in tensors:
        made["synthesis.upsample.kernel"] = _kernel(tensors["synthesis.b8.resample_filter"])
    if older:
        made["truncation.truncation"] = torch.full((1, 2 * block, 1), 0.5)
    return {name: tensor.contiguous() for name, tensor in made.items()}


def _genforce_layer(tensors: Tensors, ours: str, theirs: str, older: bool) -> Tensors:
    weight = tensors[f"{ours}.weight"]
    is_up = ours.endswith("conv0")
    weight = weight.flip(2, 3) if is_up else weight
    made = {
        f"{theirs}.weight": weight.permute(2, 3, 1, 0) if older else weight,
        f"{theirs}.bias": tensors[f"{ours}.bias"],
        f"{theirs}.style.{'fc.weight' if older else 'weight'}": tensors[f"{ours}.affine.weight"],
        f"{theirs}.style.bias": tensors[f"{ours}.affine.bias"] - 1,
    }
    if is_up:
        made[f"{theirs}.filter.kernel"] = _kernel(tensors[f"{ours}.resample_filter"])
    if f"{ours}.noise_const" in tensors:
        made[f"{theirs}.noise"] = tensors[f"{ours}.noise_const"][None, None]
        made[f"{theirs}.noise_strength"] = tensors[f"{ours}.noise_strength"]
    return made


def _kernel(filter_taps: Tensor) -> Tensor:
    """A filter as genforce keeps it: with the gain of upsampling, for a correlation."""
    return (filter_taps * 4).flip(0, 1)[None, None]


def as_rosinality(tensors: Tensors) -> Tensors:
    """NVIDIA's tensors of the architecture `skip` under rosinality's names."""
    made: Tensors = {"input.input": tensors["synthesis.b4.const"][None]}
    depth = sum(name.startswith("mapping.fc") for name in tensors) // 2
    for number in range(depth):
        for part in ("weight", "bias"):
            made[f"style.{number + 1}.{part}"] = tensors[f"mapping.fc{number}.{part}"]
    made |= _rosinality_layer(tensors, "b4.conv1", "conv1", 0)
    made |= _rosinality_colours(tensors, "b4", "to_rgb1")
    block = 1
    while f"synthesis.b{4 << block}.conv1.weight" in tensors:
        ours, first = f"b{4 << block}", 2 * block - 2
        made |= _rosinality_layer(tensors, f"{ours}.conv0", f"convs.{first}", first + 1)
        made |= _rosinality_layer(tensors, f"{ours}.conv1", f"convs.{first + 1}", first + 2)
        made |= _rosinality_colours(tensors, ours, f"to_rgbs.{block - 1}")
        block += 1
    return {name: tensor.contiguous() for name, tensor in made.items()}


def _rosinality_layer(tensors: Tensors, ours: str, theirs: str, number: int) -> Tensors:
    prefix = f"synthesis.{ours}"
    made = {
        f"{theirs}.conv.weight": tensors[f"{prefix}.weight"][None],
        f"{theirs}.conv.modulation.weight": tensors[f"{prefix}.affine.weight"],
        f"{theirs}.conv.modulation.bias": tensors[f"{prefix}.affine.bias"],
        f"{theirs}.activate.bias": tensors[f"{prefix}.bias"],
        f"{theirs}.noise.weight": tensors[f"{prefix}.noise_strength"].reshape(1),
        f"noises.noise_{number}": tensors[f"{prefix}.noise_const"][None, None],
    }
    if ours.endswith("conv0"):
        made[f"{theirs}.conv.blur.kernel"] = tensors[f"{prefix}.resample_filter"] * 4
    return made


def _rosinality_colours(tensors: Tensors, ours: str, theirs: str) -> Tensors:
    prefix = f"synthesis.{ours}.torgb"
    made = {
        f"{theirs}.conv.weight": tensors[f"{prefix}.weight"][None],
        f"{theirs}.conv.modulation.weight": tensors[f"{prefix}.affine.weight"],
        f"{theirs}.conv.modulation.bias": tensors[f"{prefix}.affine.bias"],
        f"{theirs}.bias": tensors[f"{prefix}.bias"].reshape(1, -1, 1, 1),
    }
    if theirs != "to_rgb1":
        made[f"{theirs}.upsample.kernel"] = tensors[f"synthesis.{ours}.resample_filter"] * 4
    return made


def under(prefix: str, tensors: Tensors) -> Tensors:
    """The same tensors with `prefix` before their names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def as_pixel2style2pixel(rosinality: Tensors, centre: Tensor, num_rows: int) -> dict[str, object]:
    """A checkpoint of pixel2style2pixel with this generator as its decoder."""
    encoder = {"encoder.input_layer.0.weight": torch.zeros(64, 3, 3, 3),
               "encoder.styles.0.linear.weight": torch.zeros(8, 8)}  # fmt: skip
    return {
        "state_dict": {**encoder, **under("decoder.", rosinality)},
        "latent_avg": centre.reshape(1, -1).repeat(num_rows, 1),
        "opts": {"output_size": 64, "device": "cuda:0", "lpips_lambda": 0.8, "board": None},
    }
