"""What generators with a mapping network share: images of latents, and of latents that were moved."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.generate.base import GeneratorFacts
from factory.generate.batch import ImageBatch, Rendering
from factory.generate.contract import check_layers, class_ids, rows_of, style_rows
from factory.generate.numerics import Numerics, colours_on_white, finish_images, to_bytes
from factory.generate.spaces import check_space, shift_styles


class StyleNetwork(Protocol):
    """A mapping network and what follows it."""

    @property
    def at(self) -> Numerics:
        """Where it computes."""

    @property
    def mapping(self) -> Any:  # noqa: ANN401 - each family has its own, with `z_dim`
        """The mapping network."""

    @property
    def styles(self) -> Any:  # noqa: ANN401 - called with latents, classes, `psi` and `cutoff`
        """Computes truncated style rows."""


AnyNetwork = TypeVar("AnyNetwork", bound=StyleNetwork)


class StyleBased(ABC, Generic[AnyNetwork]):
    """A generator whose images follow from rows of styles."""

    network: AnyNetwork
    facts: GeneratorFacts

    @abstractmethod
    def _synthesise(
        self, styles: Float[Tensor, "n rows w_dim"], latents: LatentBatch, layers: Sequence[str]
    ) -> tuple[Float[Tensor, "n c h w"], Mapping[str, Tensor]]:
        """Colours and feature maps of style rows, with the noise of `latents`."""

    def draw_z(self, rng: np.random.Generator) -> Float[np.ndarray, " z"]:
        """Draw one standard normal latent."""
        width: int = self.network.mapping.z_dim
        return rng.standard_normal(width, dtype=np.float32)

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Generate the images of `latents` (RGB bytes) and the feature maps named in `layers`.

        Raises:
            JobError: If a layer is unknown, or a sample has no class and the network has classes.
        """
        return finish_images(self.render(self._rows(latents), latents, layers))

    def render(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch, layers: Sequence[str]
    ) -> Rendering:
        """Render `z` in place of the batch's latents; see `DifferentiableGenerator`."""
        check_layers(layers, self.facts)
        images, features = self._synthesise(self._styles_of(z, latents), latents, layers)
        return Rendering(images, features, to_bytes)

    def shifted(
        self, latents: LatentBatch, space: str, shift: Float[Tensor, "n *_rows _d"]
    ) -> Float[Tensor, "n 3 h w"]:
        """Generate the images of `latents` moved by `shift` in `space`; see `LatentShifter`."""
        check_space(space, self.facts.spaces)
        styles_of = partial(self._styles_of, latents=latents)
        styles = shift_styles(styles_of, self._rows(latents), space, shift)
        return colours_on_white(self._synthesise(styles, latents, ())[0])

    def styles(self, latents: LatentBatch) -> Float[Tensor, "n rows w_dim"]:
        """Compute the truncated style rows (W+) of `latents`."""
        return self._styles_of(self._rows(latents), latents)

    def _rows(self, latents: LatentBatch) -> Float[Tensor, "n 1 z"]:
        return rows_of(latents, self.network.at.device)

    def _styles_of(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch
    ) -> Float[Tensor, "n styles w_dim"]:
        styles = partial(
            self.network.styles, psi=latents.truncation_psi, cutoff=latents.truncation_cutoff
        )
        return style_rows(styles, z, self._classes(latents))

    def _classes(self, latents: LatentBatch) -> Tensor | None:
        """The samples' classes, as the mapping network takes them."""
        return class_ids(latents, self.facts.num_classes, self.network.at.device)
