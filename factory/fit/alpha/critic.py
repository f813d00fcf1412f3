"""The critic: which composites look like real pictures. A StyleGAN2 discriminator without classes."""

import torch
from torch import Tensor

from factory.generate.base import GeneratorFacts
from factory.train_generator.discriminator import NUM_STATISTICS, initial_tensors

_COARSEST_PX = 4


def first_critic(facts: GeneratorFacts, rng: torch.Generator) -> dict[str, Tensor]:
    """A critic before training, as wide at each resolution as the generator."""
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
