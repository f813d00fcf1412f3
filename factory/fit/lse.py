"""The head, the loss and the training steps of Linear Semantics.

A 1x1 convolution without bias for each feature map, evaluated at the map's own resolution; the logits
are enlarged (bilinear, corners aligned) and added. Each picture's step is one backward pass, and Adam
moves the weights after a pass over all pictures. Source: Xu and Zheng, "Linear Semantics in Generative
Adversarial Networks", CVPR 2021, and their released code. Where we differ: unpainted pixels do
not count (they are class 0 in the authors' web tool), classes can have weights and biases, and a
learning rate does not fall in the middle of a pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from factory.data import IGNORE

LayerWeighting = Literal["none", "softplus", "sigmoid"]
"""How the trained number of a layer becomes its weight."""

_LAYER_RATE = 10.0
"""Layer weights are trained at ten times the rate of the others, as in the authors' code."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a training set, or several of equal size."""

    maps: tuple[Float[Tensor, "n _c _h _w"], ...]
    """Its feature maps, one per layer of the head, of any float type."""
    ids: Int64[Tensor, "n h w"]
    """Class of each pixel; 255 where nothing is painted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What is minimised."""

    focal: bool = False
    """Whether a pixel's cross entropy is multiplied by (1 - p)^2, p its class's probability."""
    layer_share: float = 0.0
    """Share of the losses of single layers' logits, which are added."""
    class_weights: Float[Tensor, " k"] | None = None
    """Weights of the classes; None = all alike."""

    def __call__(self, logits: Float[Tensor, "n k h w"], ids: Int64[Tensor, "n h w"]) -> Tensor:
        """The mean over the pixels that are painted, of which there must be one."""
        if not self.focal:
            return functional.cross_entropy(
                logits, ids, weight=self.class_weights, ignore_index=IGNORE
            )
        is_painted = ids != IGNORE
        known = torch.where(is_painted, ids, 0)
        log_p = logits.log_softmax(dim=1).gather(1, known[:, None])[:, 0]
        shares = is_painted.to(log_p.dtype)
        if self.class_weights is not None:
            shares = shares * self.class_weights[known]
        return -((1 - log_p.exp()).square() * log_p * shares).sum() / shares.sum()


@dataclass(slots=True)
class LinearLayers:
    """The trained tensors of a head."""

    blocks: list[Float[Tensor, "k _c"]]
    """Weights of each layer."""
    layer_numbers: Float[Tensor, " l"]
    """A number for each layer, from which its weight is made."""
    bias: Float[Tensor, " k"]
    """Biases of the classes; zeros for a head without."""
    weighting: LayerWeighting = "none"
    """How the numbers become weights; with `none` they have no meaning."""
    has_bias: bool = False
    """Whether the biases are trained."""

    @property
    def layer_weights(self) -> Float[Tensor, " l"]:
        """The factor of each layer's logits."""
        return make_layer_weights(self.layer_numbers, self.weighting)

    def folded(self) -> list[Float[Tensor, "k _c"]]:
        """Weights of each layer with its layer weight multiplied in: those of a plain head."""
        factors = self.layer_weights.detach()
        return [block.detach() * factor for block, factor in zip(self.blocks, factors, strict=True)]

    def parts(
        self, maps: Sequence[Float[Tensor, "n _c _h _w"]]
    ) -> list[Float[Tensor, "n k _h _w"]]:
        """Each layer's logits at its own resolution, without layer weights and bias."""
        return [
            functional.conv2d(layer.float(), block[:, :, None, None])
            for layer, block in zip(maps, self.blocks, strict=True)
        ]

    def join(
        self, parts: Sequence[Float[Tensor, "n k _h _w"]], side: tuple[int, int]
    ) -> Float[Tensor, "n k h w"]:
        """The logits of a picture from those of its layers."""
        # Logits of equal resolution are added before they are enlarged, which commutes: one
        # enlargement per resolution instead of one per layer.
        by_size: dict[torch.Size, Tensor] = {}
        for part, factor in zip(parts, self.layer_weights, strict=True):
            weighted = part if self.weighting == "none" else part * factor
            size = part.shape[2:]
            by_size[size] = by_size[size] + weighted if size in by_size else weighted
        wide = [enlarge(part, side) for part in by_size.values()]
        return torch.stack(wide).sum(dim=0) + self.bias[None, :, None, None]

    def logits(
        self, maps: Sequence[Float[Tensor, "n _c _h _w"]], side: tuple[int, int]
    ) -> Float[Tensor, "n k h w"]:
        """The logits at every pixel of pictures with `side` rows and columns."""
        return self.join(self.parts(maps), side)

    def loss(self, picture: Picture, loss: Loss) -> Tensor:
        """The loss of one picture."""
        height, width = picture.ids.shape[1:]
        parts = self.parts(picture.maps)
        total = loss(self.join(parts, (height, width)), picture.ids)
        if loss.layer_share:
            alone = [loss(enlarge(part, (height, width)), picture.ids) for part in parts]
            total = total + loss.layer_share * torch.stack(alone).sum()
        return total


def make_layer_weights(numbers: Float[Tensor, " l"], weighting: str) -> Float[Tensor, " l"]:
    """Layer weights from the numbers they are stored as: 1 each for `none`, else they add up to 1."""
    if weighting == "none":
        return torch.ones_like(numbers)
    positive = functional.softplus(numbers) if weighting == "softplus" else numbers.sigmoid()
    return positive / positive.sum()


def enlarge(maps: Float[Tensor, "n k _h _w"], side: tuple[int, int]) -> Float[Tensor, "n k h w"]:
    """Bilinear with corners aligned, as the head does when it makes masks."""
    if maps.shape[2:] == side:
        return maps
    return functional.interpolate(maps, side, mode="bilinear", align_corners=True)


class Trainer:
    """Adam on the tensors of one head."""

    def __init__(self, head: LinearLayers, loss: Loss, learning_rate: float) -> None:
        """Train `head`, whose tensors are changed in place."""
        self.head, self._loss, self._rate = head, loss, learning_rate
        self._trained = [*head.blocks, *([head.bias] if head.has_bias else [])]
        groups = [{"params": self._trained}]
        if head.weighting != "none":
            groups.append({"params": [head.layer_numbers]})
            self._trained = [*self._trained, head.layer_numbers]
        for tensor in self._trained:
            tensor.requires_grad_()
        self._adam = torch.optim.Adam(groups, lr=learning_rate)

    def train_epoch(
        self,
        pictures: Sequence[Picture],
        num_passes: int,
        *,
        rate_factor: float = 1.0,
        on_step: Callable[[], None] = lambda: None,
    ) -> list[float]:
        """Pass over the pictures `num_passes` times, with an update after each; the steps' losses."""
        for group, factor in zip(self._adam.param_groups, (1.0, _LAYER_RATE), strict=False):
            group["lr"] = self._rate * rate_factor * factor
        losses = []
        for _ in range(num_passes):
            self._adam.zero_grad()
            for picture in pictures:
                loss = self.head.loss(picture, self._loss)
                (loss / len(pictures)).backward()  # type: ignore[no-untyped-call]
                losses.append(float(loss.detach()))
                on_step()
            self._adam.step()
        return losses

    def state(self) -> list[Tensor]:
        """Every tensor that is needed to resume training, in a fixed order."""
        kept = []
        for tensor in self._trained:
            moments = self._adam.state.get(tensor, {})
            kept.append(tensor.detach().clone())
            kept += [
                moments.get(name, torch.zeros_like(tensor)).detach().clone()
                for name in ("exp_avg", "exp_avg_sq")
            ]
            kept.append(torch.as_tensor(moments.get("step", 0.0), dtype=torch.float32).clone())
        return kept

    def restore(self, kept: Sequence[Tensor]) -> None:
        """Resume from the tensors that `state` returned.

        Raises:
            ValueError: If it is the state of another head.
        """
        if len(kept) != 4 * len(self._trained):
            raise ValueError(f"{len(kept)} tensors for {len(self._trained)} that are trained")
        for place, tensor in enumerate(self._trained):
            value, first, second, step = kept[4 * place : 4 * place + 4]
            with torch.no_grad():
                if value.shape != tensor.shape:
                    raise ValueError(f"{tuple(value.shape)} in place of {tuple(tensor.shape)}")
                tensor.copy_(value)
            self._adam.state[tensor] = {
                "step": step.clone(),
                "exp_avg": first.to(tensor.device).clone(),
                "exp_avg_sq": second.to(tensor.device).clone(),
            }
