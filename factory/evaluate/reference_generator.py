"""The dataset's own generator as reference, for generators with exact masks."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from factory.data import LatentBatch
from factory.dataset.state import load_stored_job
from factory.errors import PluginError
from factory.evaluate.reference import ScoredSample
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import find_weights
from factory.store import Store


@runtime_checkable
class HasExactMasks(Protocol):
    """A generator with exact masks for its images, such as `shapes`."""

    parts: tuple[str, ...]
    """Names of the masks' classes, by id."""

    def masks(self, latents: LatentBatch) -> Int64[Tensor, "n h w"]:
        """The exact masks of `latents`."""


class GeneratorReference:
    """Exact masks from the generator of the dataset."""

    needs_images = False

    def __init__(self, store: Store, *, trust_plugins: bool = False) -> None:
        """Load the generator of the dataset in `store`.

        Raises:
            PluginError: If it has no exact masks.
            WeightsError: If its weights cannot be loaded.
        """
        spec = load_stored_job(store, trust_plugins=trust_plugins).dataset
        weights = find_weights(spec.generator)
        generator = load_generator(spec.generator, weights.path, device=torch.device("cpu"))
        if not isinstance(generator, HasExactMasks):
            raise PluginError(
                f"--reference: generator {spec.generator.kind!r} has no exact masks for its "
                "images; give masks as files or a segmenter as TorchScript or ONNX"
            )
        self.name = f"generator {spec.generator.kind}"
        self.classes = generator.parts
        self._generator = generator
        self._sampler = LatentSampler(generator, spec.latents, spec.generator)

    def masks(self, samples: Sequence[ScoredSample]) -> list[UInt8[np.ndarray, "_h _w"] | None]:
        """The exact mask of each sample."""
        latents = self._sampler.draw([int(sample.key) for sample in samples])
        return list(self._generator.masks(latents).numpy().astype(np.uint8))
