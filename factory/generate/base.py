"""The protocol of a generator plugin.

Equal batches give equal images on one machine and thread; samples of a batch do not influence each
other by more than rounding. The available feature maps are known before any image is generated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.errors import PluginError, WeightsError
from factory.generate import GENERATORS
from factory.generate.batch import ImageBatch, Rendering
from factory.generate.device import prepare_device
from factory.plugins import Role
from factory.spec import GeneratorSpec

Silenced = Literal["stage", "constant"]
"""What is 0 in a background: all that the stage of 4x4 pixels makes, or the learned constant that it is
made of, so that the stage's noise and biases remain."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Shape of one feature map: channels, rows, columns."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class StyleFacts:
    """Style-mixing capabilities: the layers to switch styles at, and the available output sizes."""

    layers: tuple[str, ...]
    """Layers from which on another latent's styles may be used, from coarse to fine."""
    sides: tuple[int, ...]
    """Available output sizes in rows: the image's own comes last, preceded by those at which the
    synthesis can stop early because the architecture produces colours there."""


@dataclass(frozen=True, slots=True)
class GeneratorFacts:
    """A generator's capabilities, known without running it."""

    resolution: int
    """Rows and columns of an image."""
    num_classes: int
    """Number of classes it is conditioned on; 0 = unconditional."""
    class_names: tuple[str, ...]
    """Names of the classes; empty if the weights do not state them."""
    layers: Mapping[str, LayerShape]
    """Available feature maps, from coarse to fine."""
    attribution: str = ""
    """Attribution that must accompany its images."""
    license: str = ""
    """Licence of the weights, as they state it."""
    channels: int = 3
    """Channels of its images: 1 = grey, which is stored as RGB, 3 = RGB, 4 = RGB with alpha, which
    every `ImageBatch` then has as `rgba`."""
    styles: StyleFacts | None = None
    """Capabilities as a `StyleMixer`; None for a family without a style per layer."""
    spaces: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Latent spaces of a `LatentShifter`, the usual one first, with the shape of one latent in each: `z`
    is what is drawn, `w` the style, `w_plus` a style per row. Empty if it is none."""
    has_backgrounds: bool = False
    """Whether it is a `BackgroundRenderer`."""


@runtime_checkable
class Generator(Protocol):
    """Generates images from latents."""

    facts: GeneratorFacts

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """Draw one latent, float32, from `rng`."""

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Generate the images of `latents` and the feature maps named in `layers`."""


@runtime_checkable
class StyleMixer(Protocol):
    """A generator with a style per layer: one latent sets the shapes, others the colours."""

    def mix(
        self, base: LatentBatch, variants: LatentBatch, start: str, stop_px: int
    ) -> Float[Tensor, "v 3 s s"]:
        """Generate variants of one image: same coarse styles and noise, other fine styles.

        The layers before `start` are computed once for all variants.

        Args:
            base: One latent, which gives the coarse styles and the noise.
            variants: One latent per variant, which gives its fine styles.
            start: The first layer that takes a variant's style; one of `facts.styles.layers`.
            stop_px: Rows of the result; one of `facts.styles.sides`.

        Returns:
            Raw colours of the network, float32, nominally -1 to 1. Below the image's own size they
            are not a downsampled image: the layers left out would still add contrast.
        """


@runtime_checkable
class BackgroundRenderer(Protocol):
    """A generator that can leave out what its coarsest stage draws, which is the object.

    Source: Abdal et al., "Labels4Free", ICCV 2021, section 3.1.
    """

    def render_background(
        self, latents: LatentBatch, silenced: Silenced
    ) -> Float[Tensor, "n c h w"]:
        """Render `latents` without an object; raw colours as in `Rendering`."""


@runtime_checkable
class DifferentiableGenerator(Generator, Protocol):
    """A generator through which gradients flow, from feature maps and colours back to latents."""

    latent_rows: int
    """Latents that one image can be made of: one for each style row; 1 = one for all layers."""

    def render(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch, layers: Sequence[str]
    ) -> Rendering:
        """Render `z` in place of the latents of the batch, whose classes, truncation and noise count.

        With one row it is what `generate` makes, before the conversion to bytes.

        Args:
            z: One latent for all layers (1 row), or one for each of `latent_rows`; on its
                device.
            latents: The batch.
            layers: Names of the requested feature maps.
        """


@runtime_checkable
class LatentShifter(Protocol):
    """A generator whose latents can be moved, and whose images tell how they depend on the move."""

    def shifted(
        self, latents: LatentBatch, space: str, shift: Float[Tensor, "n *_rows _d"]
    ) -> Float[Tensor, "n 3 h w"]:
        """Generate the images of `latents` moved by `shift`, with the same classes and noise.

        It can be differentiated with respect to `shift`.

        Args:
            latents: What the images are without a shift. They are truncated first.
            space: The latent space to move in; one of `facts.spaces`.
            shift: One for each sample, of the shape that `facts.spaces` states, on the device.

        Returns:
            Raw colours of the network, float32, nominally -1 to 1 and not clamped.
        """


_ROLE = Role(
    "dataset.generator.kind",
    "generator",
    ("its settings", "the weights file", "the device"),
    ("generate", "draw_z"),
)


def check_generator_kind(kind: str) -> None:
    """Reject at once, before anything is written, what can be no generator.

    Raises:
        PluginError: If there is no such plugin.
        JobError: If it is something else.
    """
    _ROLE.check(kind, GENERATORS.load(kind))


_ODD_SETTINGS = (
    ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What a network raises that is built from settings of the wrong types."""


def load_generator(spec: GeneratorSpec, weights: Path | None, *, device: torch.device) -> Generator:
    """Build the generator that `spec` names.

    A plugin is a class (or function) called with the spec, the local weights file (None if the job
    names no weights) and the device.

    Raises:
        PluginError: If there is no such plugin, or the object it returns is not a generator.
        JobError: If what the job names cannot be one.
        WeightsError: If the weights do not fit it.
    """
    prepare_device(device)
    try:
        generator = _ROLE.call(spec.kind, GENERATORS.load(spec.kind), spec, weights, device)
    except _ODD_SETTINGS as error:
        if weights is None or spec.kind not in GENERATORS.table:
            raise  # its author needs to see where
        # The settings of a converted file are its writer's: whatever they are, the fault is the file's.
        raise WeightsError(
            f"{weights}: no {spec.kind} can be built from its settings and tensors "
            f"({'no ' if isinstance(error, KeyError) else ''}{' '.join(str(error).split())[:160]}); "
            "convert the original checkpoint again"
        ) from error
    if not isinstance(generator, Generator):
        raise PluginError(
            f"generator {spec.kind!r}: {type(generator).__name__} is not a generator; it needs "
            "facts, draw_z and generate (see factory/generate/base.py)"
        )
    return generator
