"""The promise of a generator.

Equal batches give equal images on one machine and thread; samples of a batch do not influence each
other by more than rounding. A generator says which feature maps it offers before it makes any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.errors import PluginError
from factory.generate import GENERATORS
from factory.generate.batch import ImageBatch
from factory.spec import GeneratorSpec


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Shape of one feature map: channels, rows, columns."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class StyleFacts:
    """Where the styles of two latents can be mixed, and how large the mixture can be shown."""

    layers: tuple[str, ...]
    """Layers from which on another latent's styles may be used, from coarse to fine."""
    sides: tuple[int, ...]
    """Rows of the colours that can be had: the image's own last, and before it those at which the
    synthesis may stop early because the architecture has colours there."""


@dataclass(frozen=True, slots=True)
class GeneratorFacts:
    """What can be known of a generator without running it."""

    resolution: int
    """Rows and columns of an image."""
    num_classes: int
    """Classes it is conditioned on; 0 for none."""
    class_names: tuple[str, ...]
    """Names of the classes; empty if the weights do not say."""
    layers: Mapping[str, LayerShape]
    """Feature maps it offers, from coarse to fine."""
    attribution: str = ""
    """Line that must go with its images."""
    license: str = ""
    """Licence of the weights, as they state it."""
    styles: StyleFacts | None = None
    """What it can do as a `StyleMixer`; None for a family without a style per layer."""


@runtime_checkable
class Generator(Protocol):
    """Turns latents into images."""

    facts: GeneratorFacts

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """One latent, float32, from `rng`."""

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Images of `latents`, with the feature maps named in `layers`."""


@runtime_checkable
class StyleMixer(Protocol):
    """A generator with a style per layer, so that one latent can give the shape and others the look."""

    def mix(
        self, base: LatentBatch, looks: LatentBatch, start: str, stop_px: int
    ) -> Float[Tensor, "v 3 s s"]:
        """Variants of one image: its coarse styles and noise, the fine styles of each of `looks`.

        What they share is computed once.

        Args:
            base: One latent.
            looks: One latent per variant.
            start: The first layer that takes a variant's style; one of `facts.styles.layers`.
            stop_px: Rows of the result; one of `facts.styles.sides`.

        Returns:
            Colours as the network gives them, float32, nominally -1 to 1. Below the image's own
            size they are not a smaller image: the layers left out would still add contrast.
        """


def load_generator(spec: GeneratorSpec, weights: Path | None, *, device: torch.device) -> Generator:
    """Build the generator that `spec` names.

    A plugin is a class (or function) called with the spec, the local weights file (None if the job
    names no weights) and the device.

    Raises:
        PluginError: If there is no such plugin, or what it makes is not a generator.
        WeightsError: If the weights do not fit it.
    """
    make = GENERATORS.load(spec.kind)
    generator = make(spec, weights, device) if callable(make) else make
    if not isinstance(generator, Generator):
        raise PluginError(
            f"generator {spec.kind!r}: {type(generator).__name__} is not a generator; it needs "
            "facts, draw_z and generate (see factory/generate/base.py)"
        )
    return generator
