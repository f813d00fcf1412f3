"""The judge: a small classifier trained on the real pictures, whose features the scores are based on.

It is trained on two tasks at once: the class, and a thumbnail of the picture. With the class alone its
features would ignore everything that does not depend on the class, such as the background, and a
generator with a single background would score as well as one with all of them.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from factory.log import log_event
from factory.train_generator.generator import Tensors
from factory.train_generator.images import LabelledImages

_WIDTHS = (3, 32, 64, 96, 128)
_LEAST_SIDE = 16
_THUMBNAIL = 4
_BATCH = 64
_HELD_OUT = 10
_RATE = 2e-3
_NUM_PASSES, _LEAST_STEPS = 6, 150


@dataclass(frozen=True, slots=True)
class Judge:
    """The trained classifier."""

    tensors: Tensors
    """Its weights."""
    accuracy: float
    """Accuracy on the held-out real pictures (every tenth)."""

    def features_and_logits(self, pixels: UInt8[Tensor, "n 3 h w"]) -> tuple[Tensor, Tensor]:
        """Features (n, c) and class logits (n, k) of `pixels`."""
        pieces = [_forward(self.tensors, _prepared(piece)) for piece in torch.split(pixels, 256)]
        return torch.cat([piece[0] for piece in pieces]), torch.cat([p[1] for p in pieces])


def train_judge(images: LabelledImages, rng: torch.Generator, device: torch.device) -> Judge:
    """Train on nine tenths of `images`; an equal `rng` gives an equal judge on a CPU."""
    held_out = torch.arange(len(images.labels)) % _HELD_OUT == _HELD_OUT - 1
    seen = torch.nonzero(~held_out)[:, 0]
    tensors = _initial(len(images.groups), rng, device)
    optimiser = torch.optim.Adam([t.requires_grad_() for t in tensors.values()], lr=_RATE)
    num_steps = max(_NUM_PASSES * len(seen) // _BATCH, _LEAST_STEPS)
    for step in range(num_steps):
        optimiser.param_groups[0]["lr"] = _RATE * (1 - step / num_steps)
        rows = seen[torch.randint(len(seen), (_BATCH,), generator=rng)]
        x = _prepared(images.pixels[rows].to(device))
        if torch.rand((), generator=rng) < 0.5:
            x = x.flip(3)
        loss = _loss(tensors, x, images.labels[rows].to(device))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}
    judge = Judge(tensors, 0.0)
    with torch.no_grad():
        _, logits = judge.features_and_logits(images.pixels[held_out].to(device))
    right = logits.argmax(dim=1).cpu() == images.labels[held_out]
    accuracy = float(right.float().mean())
    log_event("judge_trained", held_out_accuracy=accuracy)
    return Judge(tensors, accuracy)


def _loss(tensors: Tensors, x: Tensor, labels: Int64[Tensor, " n"]) -> Tensor:
    features, logits = _forward(tensors, x)
    drawn = features @ tensors["thumbnail"]
    target = functional.adaptive_avg_pool2d(x, _THUMBNAIL).flatten(1)
    return functional.cross_entropy(logits, labels) + functional.mse_loss(drawn, target)


def _prepared(pixels: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h2 w2"]:
    x = pixels.float() / 64 - 2
    return functional.interpolate(x, scale_factor=max(_LEAST_SIDE // x.shape[2], 1))


def _forward(tensors: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
    for layer in range(len(_WIDTHS) - 1):
        x = functional.conv2d(x, tensors[f"conv{layer}"], stride=2, padding=1)
        x = functional.group_norm(x, 8, tensors[f"scale{layer}"], tensors[f"shift{layer}"])
        x = functional.relu(x)
    features = functional.adaptive_avg_pool2d(x, 2).flatten(1) @ tensors["features"]
    return features, functional.relu(features) @ tensors["classes"]


def _initial(num_classes: int, rng: torch.Generator, device: torch.device) -> Tensors:
    tensors = {}
    for layer, (inputs, outputs) in enumerate(pairwise(_WIDTHS)):
        weight = torch.randn(outputs, inputs, 3, 3, generator=rng) * (2 / (inputs * 9)) ** 0.5
        tensors[f"conv{layer}"] = weight
        tensors[f"scale{layer}"], tensors[f"shift{layer}"] = (
            torch.ones(outputs),
            torch.zeros(outputs),
        )
    widest = _WIDTHS[-1]
    tensors["features"] = torch.randn(widest * 4, widest, generator=rng) * (widest * 4) ** -0.5
    tensors["classes"] = torch.randn(widest, num_classes, generator=rng) * widest**-0.5
    tensors["thumbnail"] = torch.randn(widest, 3 * _THUMBNAIL**2, generator=rng) * widest**-0.5
    return {name: tensor.to(device) for name, tensor in tensors.items()}
