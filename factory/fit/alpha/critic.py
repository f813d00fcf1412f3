"""The critic: which composites look like real pictures. A StyleGAN2 discriminator without classes.

It begins as the discriminator that the generator was trained against, where the weights file has one
that fits, and else with random weights.
"""

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from factory.checkpoint import Discriminator as StoredDiscriminator
from factory.generate.base import GeneratorFacts
from factory.generate.numerics import second_moment_normalised
from factory.generate.weights.find import read_discriminator
from factory.log import log_event
from factory.spec import GeneratorSpec
from factory.train_generator.discriminator import NUM_STATISTICS, Form, initial_tensors

_COARSEST_PX = 4
_NUM_COLOURS = 3

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Start:
    """A critic before training."""

    tensors: Tensors
    """Its weights."""
    form: Form
    """How it computes."""
    is_own: bool
    """Whether it is the discriminator in the weights file."""


def start_critic(spec: GeneratorSpec, facts: GeneratorFacts, rng: torch.Generator) -> Start:
    """The critic of a training: the discriminator beside the generator, else one with random weights.

    Random numbers are drawn in both cases, so that all others of a training are the same.

    Raises:
        WeightsError: If the generator's weights cannot be read any more.
    """
    scratch = first_critic(facts, rng)
    stored = read_discriminator(spec)
    if stored is None:
        return Start(scratch, Form(), is_own=False)
    unfit = stored.unfit or _misfit(stored, facts)
    if unfit:
        log_event("discriminator_unfit", level=logging.WARNING, why=unfit, instead="random weights")
        return Start(scratch, Form(), is_own=False)
    return own_critic(stored)


def _misfit(stored: StoredDiscriminator, facts: GeneratorFacts) -> str:
    side, colours = stored.kwargs["img_resolution"], stored.kwargs["img_channels"]
    if (side, colours) == (facts.resolution, _NUM_COLOURS):
        return ""
    return (
        f"it is for images of {side} px and {colours} channels; here are {facts.resolution} and 3"
    )


def own_critic(stored: StoredDiscriminator) -> Start:
    """A discriminator of a weights file as a critic."""
    is_pooled = stored.kwargs["shortcut"] == "pooled"
    tensors = {name: tensor.float() for name, tensor in stored.tensors.items()}
    if stored.kwargs["c_dim"]:
        classes = _pooled_classes(tensors) if is_pooled else _mapped_classes(stored, tensors)
        tensors = _without_classes(tensors, classes)
    form = Form(filters_shortcuts=not is_pooled, clamp=stored.kwargs["conv_clamp"])
    return Start(tensors, form, is_own=True)


def _without_classes(tensors: Tensors, classes: Tensor) -> Tensors:
    """Fold the classes into the last layer: its score is the mean of those for each class.

    A score is the product of an image's row and a class's, so that the mean over classes is exact.
    """
    mean = classes.mean(dim=0) / math.sqrt(classes.shape[1])
    kept = {n: one for n, one in tensors.items() if not n.startswith(("embed.", "mapping."))}
    kept["b4.out.weight"] = mean[None] @ tensors["b4.out.weight"]
    kept["b4.out.bias"] = mean[None] @ tensors["b4.out.bias"]
    return kept


def _pooled_classes(tensors: Tensors) -> Tensor:
    """One row for each class, of this package's discriminators."""
    weight = tensors["embed.weight"]
    return second_moment_normalised(weight.T / math.sqrt(weight.shape[1]) + tensors["embed.bias"])


def _mapped_classes(stored: StoredDiscriminator, tensors: Tensors) -> Tensor:
    """One row for each class, as NVIDIA's program maps them."""
    weight = tensors["mapping.embed.weight"]
    x = weight.T / math.sqrt(weight.shape[1]) + tensors["mapping.embed.bias"]
    x = second_moment_normalised(x)
    rate, number = stored.kwargs["lr_multiplier"], 0
    while f"mapping.fc{number}.weight" in tensors:
        weight = tensors[f"mapping.fc{number}.weight"]
        gain = rate / math.sqrt(weight.shape[1])
        x = functional.linear(x, weight * gain, tensors[f"mapping.fc{number}.bias"] * rate)
        x = functional.leaky_relu(x, 0.2) * math.sqrt(2)
        number += 1
    return x


def first_critic(facts: GeneratorFacts, rng: torch.Generator) -> Tensors:
    """A critic with random weights, as wide at each resolution as the generator."""
    return initial_tensors(_widths(facts), 0, rng)


def _widths(facts: GeneratorFacts) -> dict[int, int]:
    by_side = {shape.height: shape.channels for shape in facts.layers.values()}
    side, found = facts.resolution, {}
    width = by_side[side]
    while side >= _COARSEST_PX:
        width = by_side.get(side, width)
        # Statistics of a minibatch are taken over equal shares of the coarsest maps.
        found[side] = -(-width // NUM_STATISTICS) * NUM_STATISTICS
        side //= 2
    return found
