"""Generators that die or dawdle on cue. The cue is a file, so that it crosses process borders."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from factory.data import LatentBatch
from factory.generate.base import Silenced
from factory.generate.batch import ImageBatch
from factory.generate.shapes import ShapesGenerator


class Mortal(ShapesGenerator):
    """`shapes`, but whoever finds the cue while making sample `DIE_AT` eats it and is killed."""

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        cue = Path(os.environ["FACTORY_TEST_CUE"])
        if int(os.environ.get("FACTORY_TEST_DIE_AT", "-1")) in latents.indices:
            try:
                cue.unlink()
            except FileNotFoundError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().generate(latents, layers)


class Slow(ShapesGenerator):
    """`shapes`, with a pause for each batch while the cue exists."""

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        if Path(os.environ["FACTORY_TEST_CUE"]).exists():
            time.sleep(0.2)
        return super().generate(latents, layers)

    def shifted(self, latents: LatentBatch, space: str, shift: Tensor) -> Tensor:
        if Path(os.environ["FACTORY_TEST_CUE"]).exists():
            time.sleep(0.05)
        return super().shifted(latents, space, shift)

    def render_background(self, latents: LatentBatch, silenced: Silenced) -> Tensor:
        if Path(os.environ["FACTORY_TEST_CUE"]).exists():
            time.sleep(0.2)
        return super().render_background(latents, silenced)


class Broken(ShapesGenerator):
    """`shapes`, with a bug that shows at one sample."""

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        if 40 in latents.indices:
            raise ZeroDivisionError("a bug at sample 40")
        return super().generate(latents, layers)
