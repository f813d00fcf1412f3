"""A generator whose batches need much memory: real allocations, which a limit of the process refuses."""

import torch

from factory.generate.shapes import ShapesGenerator

EACH_BYTES = 2**28
"""Memory for each image of a batch."""


class Hungry(ShapesGenerator):
    """The toy generator, with a large map for each image while it computes."""

    each_bytes = EACH_BYTES

    def generate(self, latents, layers):
        held = torch.empty(len(latents.indices), self.each_bytes, dtype=torch.uint8)
        batch = super().generate(latents, layers)
        del held
        return batch


class Insatiable(Hungry):
    """One whose single image is more than any machine has."""

    each_bytes = 2**50
