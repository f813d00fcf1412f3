"""A pickle such as NVIDIA's FFHQ StyleGAN2 is: its network, names, settings and size; random weights."""

from pathlib import Path
from typing import Any

import torch
from persistent import Persistent, pickled

from factory.train_generator.generator import initial_tensors

KWARGS: dict[str, Any] = {
    "z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": 1024, "img_channels": 3,
    "mapping_kwargs": {"num_layers": 8, "lr_multiplier": 0.01},
    "synthesis_kwargs": {"channel_base": 32768, "channel_max": 512},
}  # fmt: skip
_PARTS = {"affine": "FullyConnectedLayer", "torgb": "ToRGBLayer", "mapping": "MappingNetwork",
          "synthesis": "SynthesisNetwork"}  # fmt: skip


def write_pickle(path: Path, seed: int = 0) -> None:
    """Write a whole network of 1024 px with random weights, as the StyleGAN3 repository pickles it."""
    rng = torch.Generator().manual_seed(seed)
    tensors = initial_tensors(KWARGS, KWARGS["img_resolution"], rng)
    for name, tensor in tensors.items():
        if name.endswith("noise_strength"):
            tensor.fill_(0.1)
    path.write_bytes(pickled(_network(tensors), D=None, training_set_kwargs=None))


def _network(tensors: dict[str, torch.Tensor]) -> Persistent:
    sizes = {name: KWARGS[name] for name in KWARGS if isinstance(KWARGS[name], int)}
    init = {**sizes, "mapping_kwargs": {"num_layers": 8}, "fused_modconv_default": "inference_only",
            **KWARGS["synthesis_kwargs"], "num_fp16_res": 0, "conv_clamp": None}  # fmt: skip
    root = Persistent("Generator", num_ws=18, _init_kwargs=init, **sizes)
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            if part not in place.modules:
                place.modules[part] = _module(part)
            place = place.modules[part]
        place.buffers[last] = tensor
    return root


def _module(name: str) -> Persistent:
    if name.startswith("fc"):
        return Persistent("FullyConnectedLayer", activation="lrelu", bias_gain=0.01)
    if name == "affine":
        return Persistent(_PARTS[name], activation="linear", bias_gain=1)
    if name == "mapping":
        return Persistent(_PARTS[name], num_layers=8)
    if name.startswith("b"):
        return Persistent("SynthesisBlock", architecture="skip", use_fp16=False)
    if name.startswith("conv"):
        return Persistent("SynthesisLayer", activation="lrelu", conv_clamp=None)
    return Persistent(_PARTS[name], conv_clamp=None)
