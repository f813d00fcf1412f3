"""The toy generator, with a failure that tells paths: of its dataset, and of somebody's home."""

import os
from collections.abc import Sequence

from factory.data import LatentBatch
from factory.generate.batch import ImageBatch
from factory.generate.shapes import ShapesGenerator


class TellsPaths(ShapesGenerator):
    """Fails at one sample."""

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        if 4 in latents.indices:
            out = os.environ["TELLTALE_ROOT"]
            raise ValueError(f"no room in {out}/data/x.tar for /home/anna/b.pt")
        return super().generate(latents, layers)
