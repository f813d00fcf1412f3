"""Find the discriminator beside a generator: StyleGAN2's residual one, in the layouts of two programs.

Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", section 4 and
figure 7, and the tensors' names of NVIDIA's and rosinality's programs.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from factory.checkpoint.base import Discriminator
from factory.checkpoint.families.containers import Containers, Group, Leaf, tensor_of
from factory.checkpoint.families.discriminator_shapes import (
    checked,
    guarded,
    refuse_discriminator,
)
from factory.checkpoint.families.marks import WRAPPERS, words_of
from factory.checkpoint.families.renaming import Renaming
from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.families.stylegan2 import default_filter
from factory.checkpoint.pickles.modules import walk_modules
from factory.checkpoint.pickles.nodes import PersistentObject
from factory.checkpoint.pickles.source import Budget, shown

_WORDS = frozenset(("d", "dis", "disc", "discriminator", "critic"))
_TRAINING_WORDS = frozenset(("optim", "optimizer", "optimiser", "opt", "sched", "scheduler"))
_NVIDIA_MARK = ("b4.out.weight", "b4.fc.weight")
_ROSINALITY_MARK = ("final_linear.1.weight", "convs.0.0.weight")
_LR_MULTIPLIER = 0.01


def find_discriminator(containers: Containers, budget: Budget) -> Discriminator | None:
    """The discriminator in a file's content; None if there is none."""
    for route, network in containers.networks:
        if route and route[-1] == "D":
            return guarded(budget.file, partial(_of_network, network, budget))
    known = _known(containers)
    if known is not None:
        prefix, group = known
        return guarded(budget.file, partial(_of_group, prefix, group, budget))
    if any(_names_discriminator(group.route) for group in containers.groups):
        return Discriminator(unfit="its layout is not known")
    return None


def _known(containers: Containers) -> tuple[str, Group] | None:
    """A discriminator of a known layout, and the prefix of its names; the first that is named as one."""
    found = [
        (prefix, group)
        for group in containers.groups
        for mark in (_NVIDIA_MARK, _ROSINALITY_MARK)
        for prefix in _prefixes(group.leaves, mark)
    ]
    return min(
        found, key=lambda one: not _names_discriminator((*one[1].route, one[0])), default=None
    )


def _prefixes(leaves: Mapping[str, Leaf], mark: tuple[str, ...]) -> list[str]:
    before = [name[: -len(mark[0])] for name in leaves if name.endswith(mark[0])]
    return [
        prefix
        for prefix in before
        if (not prefix or prefix.endswith(".")) and all(prefix + name in leaves for name in mark)
    ]


def _names_discriminator(route: tuple[str, ...]) -> bool:
    words = [
        words_of(part) for key in route for part in key.split(".") if part not in ("", *WRAPPERS)
    ]
    is_training = any(part & _TRAINING_WORDS for part in words)
    return bool(words) and bool(words[-1] & _WORDS) and not is_training


def _of_network(network: PersistentObject, budget: Budget) -> Discriminator:
    """A network that NVIDIA's programs pickled whole."""
    tree = walk_modules(network, budget)
    root, file = tree.root, tree.file
    kwargs = {name: root.get(name) for name in ("img_resolution", "img_channels", "c_dim")}
    blocks = [path for path in tree.modules if path.startswith("b") and path.count(".") == 0]
    for path in blocks:
        architecture = tree.modules[path].get("architecture")
        if architecture != "resnet":
            refuse_discriminator(
                file, f"a discriminator of the architecture {shown(architecture, 40)}"
            )
    clamps = {
        module.get("conv_clamp")
        for path, module in tree.modules.items()
        if path.endswith((".conv0", ".conv1", ".fromrgb", ".conv"))
    }
    if len(clamps) != 1:
        refuse_discriminator(file, "a discriminator whose layers differ in conv_clamp")
    has_classes = "mapping.fc0" in tree.modules
    kwargs["conv_clamp"] = clamps.pop()
    kwargs["lr_multiplier"] = (
        tree.module("mapping.fc0").get("bias_gain") if has_classes else _LR_MULTIPLIER
    )
    return checked(file, _without_filters(file, tree.tensors), {**kwargs, "shortcut": "filtered"})


def _of_group(prefix: str, group: Group, budget: Budget) -> Discriminator:
    """A state dict; what lies outside `prefix` belongs to other networks."""
    leaves = {
        name[len(prefix) :]: leaf for name, leaf in group.leaves.items() if name.startswith(prefix)
    }
    tensors = {name: tensor_of(leaf, budget) for name, leaf in leaves.items()}
    if _ROSINALITY_MARK[0] in tensors:
        tensors = _of_rosinality(StateDict(budget.file, tensors, {}))
    tensors = _without_filters(budget.file, tensors)
    sides = [
        int(name[1:].partition(".")[0]) for name in tensors if name.endswith(".fromrgb.weight")
    ]
    side = max(sides, default=0)
    colours = tensors.get(f"b{side}.fromrgb.weight")
    kwargs = {
        "img_resolution": side,
        "img_channels": 0 if colours is None else colours.shape[1],
        "c_dim": tensors["mapping.embed.weight"].shape[1]
        if "mapping.embed.weight" in tensors
        else 0,
        "conv_clamp": None,
        "lr_multiplier": _LR_MULTIPLIER,
        "shortcut": "filtered",
    }
    return checked(budget.file, tensors, kwargs)


def _of_rosinality(state: StateDict) -> dict[str, Tensor]:
    names = Renaming(state, "rosinality")
    num_blocks = state.count_from(1, "convs.{}.conv1.0.weight")
    side = 4 << num_blocks
    names.move("convs.0.0.weight", f"b{side}.fromrgb.weight")
    names.move("convs.0.1.bias", f"b{side}.fromrgb.bias")
    for number in range(1, num_blocks + 1):
        old, new = f"convs.{number}", f"b{side}"
        names.move(f"{old}.conv1.0.weight", f"{new}.conv0.weight")
        names.move(f"{old}.conv1.1.bias", f"{new}.conv0.bias")
        names.move(f"{old}.conv2.1.weight", f"{new}.conv1.weight")
        names.move(f"{old}.conv2.2.bias", f"{new}.conv1.bias")
        names.move(f"{old}.skip.1.weight", f"{new}.skip.weight")
        for part, place in (("conv2", "conv1"), ("skip", "skip")):
            if f"{old}.{part}.0.kernel" in names:
                names.move(f"{old}.{part}.0.kernel", f"{new}.{place}.resample_filter")
        side //= 2
    for old, new in (("final_conv.0.weight", "conv.weight"), ("final_conv.1.bias", "conv.bias"),
                     ("final_linear.0.weight", "fc.weight"), ("final_linear.0.bias", "fc.bias"),
                     ("final_linear.1.weight", "out.weight"),
                     ("final_linear.1.bias", "out.bias")):  # fmt: skip
        names.move(old, f"b4.{new}")
    return names.finish()[0]


def _without_filters(file: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the filters, which must be the usual ones."""
    taps = default_filter()
    kept = {}
    for name, tensor in tensors.items():
        if not name.endswith("resample_filter"):
            kept[name] = tensor
        elif tensor.shape != taps.shape or not torch.allclose(tensor.float(), taps, atol=1e-3):
            refuse_discriminator(
                file, f"a discriminator whose filter {shown(name, 60)} is not [1, 3, 3, 1]"
            )
    return kept
