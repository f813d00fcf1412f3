"""A generator whose pictures repeat: samples of different splits can then be nearly the same."""

import numpy as np

from factory.generate.shapes import ShapesGenerator

NUM_PICTURES = 100


class Repeating(ShapesGenerator):
    """Draws one of a hundred pictures for each sample."""

    def draw_z(self, rng: np.random.Generator) -> np.ndarray:
        return super().draw_z(np.random.default_rng(rng.integers(NUM_PICTURES)))
