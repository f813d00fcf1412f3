"""One StyleGAN2 under the names of several programs, and small networks for files of one's own."""

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
