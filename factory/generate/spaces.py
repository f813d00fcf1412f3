"""Latent spaces of networks, and how latents or rows of styles are moved in each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.generate.batch import Rendering
from factory.generate.contract import rows_of
from factory.generate.numerics import colours_on_white

Z, W, W_PLUS = "z", "w", "w_plus"


def style_spaces(z_dim: int, w_dim: int, num_ws: int) -> Mapping[str, tuple[int, ...]]:
    """The spaces of a network with `num_ws` rows of styles."""
    return {W_PLUS: (num_ws, w_dim), W: (w_dim,), Z: (z_dim,)}


def z_space(z_dim: int) -> Mapping[str, tuple[int, ...]]:
    """The only space of a network without styles."""
    return {Z: (z_dim,)}


def check_space(space: str, spaces: Mapping[str, tuple[int, ...]]) -> None:
    """Reject a latent space that the generator does not have.

    Raises:
        JobError: If it is none of `spaces`.
    """
    if space not in spaces:
        raise JobError(
            where="dataset.segmenter.space",
            found=f"found {space!r}, which this generator does not have",
            allowed=", ".join(spaces) or "none",
            remedy="use `auto`",
        )


def shift_z(latents: LatentBatch, shift: Float[Tensor, "n z"]) -> Float[Tensor, "n 1 z"]:
    """Latents of a network that truncates z itself, moved by `shift` after truncation."""
    # It multiplies by psi once more. Nothing leads away from the one image that psi 0 has.
    return rows_of(latents, shift.device) + (shift / (latents.truncation_psi or 1))[:, None]


def shift_styles(
    styles: Callable[[Float[Tensor, "n 1 _z"]], Float[Tensor, "n rows w"]],
    z: Float[Tensor, "n 1 _z"],
    space: str,
    shift: Float[Tensor, "n *_rows _d"],
) -> Float[Tensor, "n rows w"]:
    """The style rows that `styles` makes of `z`, moved by `shift` in `space`."""
    if space == Z:
        return styles(z + shift[:, None])
    return styles(z) + (shift[:, None] if space == W else shift)


class ShiftedZ(ABC):
    """A generator without styles, whose latents can be moved; see `LatentShifter`."""

    facts: GeneratorFacts

    @abstractmethod
    def render(
        self, z: Float[Tensor, "n rows z"], latents: LatentBatch, layers: Sequence[str]
    ) -> Rendering:
        """Render `z` in place of the batch's latents; see `DifferentiableGenerator`."""

    def shifted(
        self, latents: LatentBatch, space: str, shift: Float[Tensor, "n *_rows _d"]
    ) -> Float[Tensor, "n 3 h w"]:
        """Generate the images of `latents` moved by `shift` in `space`; see `LatentShifter`."""
        check_space(space, self.facts.spaces)
        z = shift_z(latents, shift)
        return colours_on_white(self.render(z, latents, ()).colours)
