"""What is wanted of a batch of images, as a function of their latents."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.data import LatentBatch
from factory.edit.descent import Descent, descend
from factory.edit.objective import Pull, Terms, colour_loss, layout_loss
from factory.generate.base import DifferentiableGenerator
from factory.segment.base import DifferentiableSegmenter


@dataclass(frozen=True, slots=True)
class Wish:
    """Layouts that the images of a batch should have."""

    generator: DifferentiableGenerator
    """Makes the images."""
    head: DifferentiableSegmenter
    """Makes their masks."""
    latents: LatentBatch
    """The batch, whose classes, truncation and noise stay."""
    layouts: Int64[Tensor, "n s s"]
    """Wanted classes, of any size; 255 = anything."""

    def scores(self, z: Float[Tensor, "n rows z"]) -> Float[Tensor, "n k s s"]:
        """Scores of the classes at the layouts' size, if `z` were the latents."""
        made = self.generator.render(z, self.latents, self.head.layers)
        return self.head.class_scores(made.features, self.layouts.shape[-1])

    def loss(
        self, z: Float[Tensor, "n rows z"], start: Float[Tensor, "n rows z"], pull: Pull
    ) -> Terms:
        """How far the images of `z` are from the layouts."""
        return layout_loss(self.scores(z), self.layouts, z, start, pull)

    def descend(
        self,
        start: Float[Tensor, "n rows z"],
        *,
        steps: int,
        learning_rate: float,
        pull: Pull,
    ) -> Descent:
        """Move `start` towards images with these layouts."""
        return descend(
            lambda z: self.loss(z, start, pull).total,
            start,
            steps=steps,
            learning_rate=learning_rate,
        )


@dataclass(frozen=True, slots=True)
class ColourWish:
    """Colours that the images of a batch should have: what the authors compare editing with."""

    generator: DifferentiableGenerator
    """Makes the images."""
    latents: LatentBatch
    """The batch."""
    wanted: Float[Tensor, "n c s s"]
    """Wanted colours, -1 to 1, of any size."""
    is_painted: Float[Tensor, "n s s"]
    """1 in the painted region, 0 outside."""

    def loss(
        self, z: Float[Tensor, "n rows z"], start: Float[Tensor, "n rows z"], pull: Pull
    ) -> Terms:
        """How far the images of `z` are from the colours."""
        made = self.generator.render(z, self.latents, ())
        colours = resize(made.colours, self.wanted.shape[-1])
        return colour_loss(colours, self.wanted, self.is_painted, z, start, pull)


def resize(colours: Float[Tensor, "n c h w"], side: int) -> Float[Tensor, "n c s s"]:
    """Resize as the authors do: bilinear, corners aligned."""
    if colours.shape[-1] == side:
        return colours
    return functional.interpolate(colours, (side, side), mode="bilinear", align_corners=True)
