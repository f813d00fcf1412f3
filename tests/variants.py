"""Small generators of every family: grey, RGB, and RGB with alpha; with classes and without.

They are the reference cases with other colour layers, or with inputs for classes. What they should
look like is computed from their tensors as they are, past all reading and converting of files.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from families import (
    BIGGAN,
    BIGGAN_HF,
    CPU,
    DCGAN,
    GOLDEN,
    PGGAN,
    STYLEGAN1,
    STYLEGAN3,
    load_case,
    load_tensors,
)
from layouts import as_genforce, as_rosinality
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from factory.data import LatentBatch
from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import TensorBag, find_weights
from factory.spec import GeneratorSpec

Tensors = dict[str, Tensor]

_COLOURS = re.compile(
    r"(synthesis\.b\d+\.torgb|(synthesis\.)?output\d+|output_layer\.2|synthesis\.L\d+_64_3|main\.12)"
    r"\.(weight|bias|u0)"
)
_FROM = [0, 1, 2, 0]
"""Which of the reference's channels each of ours is; the fourth is turned round."""
_CASES = {
    "stylegan3": ("sg3t_64_psi1", STYLEGAN3),
    "stylegan_xl": ("sg3t_64_psi1", STYLEGAN3),
    "stylegan1": ("stylegan1_genforce_64", STYLEGAN1),
    "pggan": ("pggan_genforce_64", PGGAN),
    "dcgan": ("dcgan_64", DCGAN),
    "biggan_ajbrock": ("biggan_aj_64", BIGGAN),
    "biggan_deep_hf": ("biggan_deep_hf_64_t1", BIGGAN_HF),
}


@dataclass(frozen=True)
class Variant:
    """One generator, as its program saves it."""

    name: str
    kind: str
    content: dict[str, Any]
    """What is saved: its state dict, or that and what lies beside it."""
    synthesise: Callable[[Tensor, Tensor | None], Tensor]
    """Its images as floats, of latents and classes (None for none)."""
    channels: int = 3
    num_classes: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    """What its tensors do not say and `--config` or `generator.settings` must."""

    def draw_images(self, latents: LatentBatch) -> np.ndarray:
        """Its images of `latents` as bytes, `n h w c`."""
        z = torch.from_numpy(latents.z)
        classes = torch.from_numpy(latents.class_labels) if self.num_classes else None
        with torch.inference_mode():
            images = self.synthesise(z, classes)
        rules = {"biggan_deep_hf": (128, 128), "biggan_ajbrock": (127.5, 127.5)}
        scale, offset = rules.get(self.kind, (127.5, 128))
        scaled = (images * scale + offset).clamp(0, 255).floor()
        return scaled.permute(0, 2, 3, 1).numpy().astype(np.uint8)


def with_channels(tensors: Tensors, count: int) -> Tensors:
    """The network with `count` channels; alpha, the fourth, is the first turned round."""
    made = {}
    for name, tensor in tensors.items():
        changed = tensor
        if _COLOURS.fullmatch(name):
            axis = 1 if name == "main.12.weight" or name.endswith("u0") else 0
            changed = changed.index_select(axis, torch.tensor((_FROM * 2)[:count]))
            if not name.endswith("u0") and count > 3:
                changed.select(axis, 3).neg_()
        made[re.sub(r"(L\d+_64)_3\.", rf"\1_{count}.", name)] = changed.contiguous()
    return made


def stylegan2(count: int = 3, case: str = "sg2ada_u32_orig_clamp", layout: str = "") -> Variant:
    """A StyleGAN2 in NVIDIA's names, or in those of another program's `layout`."""
    facts = json.loads((GOLDEN / "parity" / f"{case}.json").read_text())
    kwargs = facts["init_kwargs"]
    tensors = with_channels(load_file(GOLDEN / "parity" / facts["weights_file"]), count)
    classes = kwargs.get("c_dim", 0)
    clamp = kwargs.get("synthesis_kwargs", {}).get("conv_clamp")

    def synthesise(z: Tensor, chosen: Tensor | None) -> Tensor:
        bag = TensorBag(tensors, source=case)
        network = Network(bag, kwargs, Numerics(CPU, torch.float32))
        labels = None if chosen is None else torch.nn.functional.one_hot(chosen, classes).float()
        return network.synthesise(network.styles(z, labels), network.const_noise())[0]

    content: dict[str, Any] = tensors
    if layout == "genforce":
        content = {"generator_smooth": as_genforce(tensors, older=True)}
    elif layout == "rosinality":
        content = {"g_ema": as_rosinality(tensors), "latent_avg": tensors["mapping.w_avg"]}
    labelled = " with classes" if classes else ""
    settings = {} if clamp is None else {"conv_clamp": clamp}
    name = f"stylegan2{f' of {layout}' if layout else ''}{labelled}, {count}"
    return Variant(name, "stylegan2", content, synthesise, count, classes, settings)


def of_family(
    kind: str,
    count: int = 3,
    *,
    tensors: Tensors | None = None,
    num_classes: int = 0,
    settings: dict[str, Any] | None = None,
    case_name: str = "",
) -> Variant:
    """A generator of another family; `settings` are what its file must be given beside."""
    name, family = _CASES[kind]
    name = case_name or name
    tensors = with_channels(load_tensors(name) if tensors is None else tensors, count)
    case = load_case(name) | {"trunc_psi": 1.0, "trunc_layers": None, "truncation": 1.0}
    kwargs = {**case["kwargs"], **(settings or {})}
    if kind in ("stylegan3", "stylegan_xl"):
        kwargs["img_channels"] = count

    def synthesise(z: Tensor, classes: Tensor | None) -> Tensor:
        bag = TensorBag(tensors, source=name)
        network = family.network(bag, kwargs, Numerics(CPU, torch.float32))
        return family.synthesise(network, z, classes, case)[0]

    labelled = " with classes" if num_classes else ""
    label = f"{kind}{f' ({case_name})' if case_name else ''}{labelled}, {count}"
    return Variant(label, kind, tensors, synthesise, count, num_classes, settings or {})


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def _with_inputs(tensors: Tensors, first: str, axis: int, count: int) -> Tensors:
    """The network with `count` more inputs of its first layer."""
    weight = tensors[first]
    shape = list(weight.shape)
    shape[axis] = count
    return {**tensors, first: torch.cat([weight, _normal(*shape) * weight.std()], dim=axis)}


def conditional_dcgan(count: int = 3) -> Variant:
    """A DCGAN whose last five inputs are a class."""
    tensors = _with_inputs(load_tensors("dcgan_64"), "main.0.weight", 0, 5)
    return of_family("dcgan", count, tensors=tensors, num_classes=5, settings={"classes": 5})


def conditional_pggan(count: int = 3) -> Variant:
    """A PGGAN whose last six inputs are a class."""
    tensors = _with_inputs(load_tensors("pggan_genforce_64"), "layer0.weight", 1, 6)
    return of_family("pggan", count, tensors=tensors, num_classes=6, settings={"label_size": 6})


def conditional_stylegan1(count: int = 3) -> Variant:
    """A StyleGAN with five classes."""
    tensors = load_tensors("stylegan1_genforce_64")
    tensors["mapping.label_weight"] = _normal(5, 48)
    tensors["mapping.dense0.weight"] = _normal(48, 96) * 100
    return of_family("stylegan1", count, tensors=tensors, num_classes=5)


def conditional_stylegan3(count: int = 3) -> Variant:
    """A StyleGAN3 with six classes."""
    tensors = load_tensors("sg3t_64_psi1")
    tensors |= {"mapping.embed.weight": _normal(48, 6), "mapping.embed.bias": _normal(48)}
    tensors["mapping.fc0.weight"] = _normal(48, 96) * 100
    return of_family("stylegan3", count, tensors=tensors, num_classes=6)


def stylegan_xl(count: int = 3) -> Variant:
    """A StyleGAN-XL with five classes."""
    tensors = load_tensors("sg3t_64_psi1")
    tensors["mapping.embed.weight"] = _normal(5, 12)
    tensors["mapping.embed_proj.weight"] = _normal(48, 12)
    tensors["mapping.embed_proj.bias"] = _normal(48)
    tensors["mapping.fc0.weight"] = _normal(48, 96) * 100
    tensors["mapping.w_avg"] = _normal(5, 48)
    return of_family("stylegan_xl", count, tensors=tensors, num_classes=5)


def biggan_deep_hf() -> Variant:
    """A BigGAN-deep of Hugging Face, whose config.json is its settings."""
    config = load_case("biggan_deep_hf_64_t1")["config"]
    return of_family("biggan_deep_hf", num_classes=10, settings=config)


_SKIP = "sg2ada_u64_psi1"
VARIANTS: dict[str, Callable[[], Variant]] = {
    **{f"stylegan2-{count}": (lambda count=count: stylegan2(count)) for count in (1, 3, 4)},
    **{
        f"stylegan2-{layout}-{count}": (
            lambda count=count, layout=layout: stylegan2(count, _SKIP, layout)
        )
        for layout in ("rosinality", "genforce")
        for count in (1, 3, 4)
    },
    "stylegan2-classes": lambda: stylegan2(3, "sg2ada_c32_psi07"),
    "stylegan2-classes-4": lambda: stylegan2(4, "sg2ada_c32_psi07"),
    **{
        f"{kind}-{count}": (lambda kind=kind, count=count: of_family(kind, count))
        for kind in ("stylegan3", "stylegan1", "pggan", "dcgan")
        for count in (1, 3, 4)
    },
    "stylegan3-r": lambda: of_family("stylegan3", case_name="sg3r_64_psi1"),
    "stylegan3-classes": conditional_stylegan3,
    "stylegan_xl": stylegan_xl,
    "stylegan_xl-4": lambda: stylegan_xl(4),
    "stylegan1-classes": conditional_stylegan1,
    "pggan-classes": conditional_pggan,
    "dcgan-classes": conditional_dcgan,
    "dcgan-classes-1": lambda: conditional_dcgan(1),
    **{
        f"biggan_ajbrock-{count}": (
            lambda count=count: of_family("biggan_ajbrock", count, num_classes=10)
        )
        for count in (1, 3, 4)
    },
    "biggan_ajbrock-deep": lambda: of_family(
        "biggan_ajbrock", num_classes=10, case_name="biggandeep_aj_64"
    ),
    "biggan_deep_hf": biggan_deep_hf,
}
"""Every family and its main variants, built when they are asked for."""


def rgba_of_blood_cells(path: Path) -> None:
    """Write the shipped generator with an alpha of its own: what is less green is more opaque."""
    shipped = find_weights(GeneratorSpec(kind="stylegan2", weights="shipped:blood_cells")).path
    tensors = load_file(shipped)
    for name, tensor in tensors.items():
        if re.fullmatch(r".*torgb\.(weight|bias)", name):
            tensors[name] = torch.cat([tensor, tensor[1:2] * -1.8])
    tensors["synthesis.b4.torgb.bias"][3] += 0.5
    with safe_open(shipped, framework="pt") as file:
        kwargs = json.loads(file.metadata()["kwargs"]) | {"img_channels": 4}
        metadata = {**file.metadata(), "kwargs": json.dumps(kwargs)}
    save_file(tensors, path, metadata)
