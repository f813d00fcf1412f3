"""The losses of generator and discriminator.

Source: Goodfellow et al. 2014 (non-saturating logistic loss); Mescheder et al. 2018, "Which training
methods for GANs do actually converge?" (R1); Karras et al. 2020, "Analyzing and improving the image
quality of StyleGAN", section 3.2 (path length).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.train_generator.transfer import to_device

PATH_DECAY = 0.01


def generator_loss(fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Non-saturating loss from the logits of generated images."""
    return functional.softplus(-fake).mean()


def discriminator_loss(real: Float[Tensor, " n"], fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Logistic loss from the logits of real pictures and of generated images."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def r1_penalty(
    discriminate: Callable[[Tensor], Tensor], real: Float[Tensor, "n 3 h w"], gamma: float
) -> Float[Tensor, ""]:
    """R1: half `gamma` times the mean squared gradient of the logits at `real`.

    The gradient is taken at the augmented pictures, the discriminator's actual input; NVIDIA's program
    takes it before the augmentation.
    """
    real = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminate(real).sum(), real, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)).mean() * (gamma / 2)


def path_length_penalty(
    images: Float[Tensor, "n 3 h w"],
    ws: Float[Tensor, "n rows w_dim"],
    mean_length: float | Tensor,
    rng: torch.Generator,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Path-length regularisation: variance of the image's change per step in w; and its new mean.

    The mean is in float64, and stays on the device.
    """
    drawn = to_device(torch.randn(images.shape, generator=rng), images.device)
    noise = drawn / math.sqrt(images.shape[2] * images.shape[3])
    (slope,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
    lengths = slope.square().sum(dim=2).mean(dim=1).sqrt()
    mean = mean_length + PATH_DECAY * (lengths.detach().mean().double() - mean_length)
    return (lengths - mean).square().mean(), mean
