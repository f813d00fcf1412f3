"""StyleGAN2's mapping network: latents and class labels to styles, for inference only.

Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", and Karras et al.
2020, "Training GANs with limited data" (the class embedding). Tensor names are NVIDIA's.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from factory.generate.numerics import second_moment_normalised
from factory.generate.weights.find import TensorBag


class Linear:
    """A fully connected layer; the equalised learning rate's gains are folded into its weights."""

    def __init__(self, bag: TensorBag, name: str, gain: float, device: torch.device) -> None:
        """Take `name.weight` and `name.bias`; `gain` is the layer's learning-rate multiplier."""
        weight = bag.take(f"{name}.weight")
        self.weight = (weight * (gain / math.sqrt(weight.shape[1]))).to(device)
        self.bias = (bag.take(f"{name}.bias", weight.shape[0]) * gain).to(device)

    def __call__(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        """`x W^T + b`."""
        return functional.linear(x, self.weight, self.bias)


class Mapping:
    """The mapping network: latents and class labels to the intermediate latent w."""

    def __init__(
        self, bag: TensorBag, lr_multiplier: float, *, joint_norm: bool, device: torch.device
    ) -> None:
        """Read as many layers as the file has.

        With `joint_norm`, latent and class embedding are normalised together, as before ADA.
        """
        self._joint_norm = joint_norm
        self.embed = (
            Linear(bag, "mapping.embed", 1.0, device) if "mapping.embed.weight" in bag else None
        )
        self.layers: list[Linear] = []
        while f"mapping.fc{len(self.layers)}.weight" in bag:
            name = f"mapping.fc{len(self.layers)}"
            self.layers.append(Linear(bag, name, lr_multiplier, device))
        self.w_dim = self.layers[-1].weight.shape[0]
        self.w_avg = bag.take("mapping.w_avg", self.w_dim).to(device)
        self.c_dim = self.embed.weight.shape[1] if self.embed else 0
        embedded = self.embed.weight.shape[0] if self.embed else 0
        self.z_dim = self.layers[0].weight.shape[1] - embedded

    def __call__(
        self, z: Float[Tensor, "n z"], labels: Float[Tensor, "n k"] | None
    ) -> Float[Tensor, "n w_dim"]:
        """W of each latent; `labels` are one-hot rows (any real-valued row is allowed)."""
        if self._joint_norm and self.embed is not None and labels is not None:
            x = second_moment_normalised(torch.cat([z, self.embed(labels)], dim=1))
        else:
            x = second_moment_normalised(z) if self.z_dim else z
            if self.embed is not None and labels is not None:
                x = torch.cat([x, second_moment_normalised(self.embed(labels))], dim=1)
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2) * math.sqrt(2)
        return x
