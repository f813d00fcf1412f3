"""Adam without a first moment (beta1 = 0), for named tensors: StyleGAN2's optimiser."""

import torch

from factory.train_generator.generator import Tensors

_BETA2 = 0.99
_EPS = 1e-8


class Adam:
    """Adam (Kingma and Ba 2015) with beta 0 and 0.99, for tensors that may be added and removed.

    Without a first moment the state is one tensor per parameter, and growing a network only adds
    names. Every parameter has its own step count, so that the bias correction of a new one is right.
    """

    def __init__(self, beta2: float = _BETA2) -> None:
        """Start with an empty state; `beta2` is the decay of the second moment."""
        self._beta2 = beta2
        self.moments: Tensors = {}
        self.steps: dict[str, int] = {}

    @torch.no_grad()
    def step(self, tensors: Tensors, gradients: Tensors, learning_rate: float) -> None:
        """Update `tensors` in place. NaN gradients count as 0, infinite ones are clamped."""
        for name, gradient in gradients.items():
            finite = torch.nan_to_num(gradient, nan=0.0, posinf=1e5, neginf=-1e5)
            moment = self.moments.get(name)
            if moment is None:
                moment = self.moments[name] = torch.zeros_like(tensors[name])
            count = self.steps[name] = self.steps.get(name, 0) + 1
            moment.mul_(self._beta2).addcmul_(finite, finite, value=1 - self._beta2)
            scale = (moment / (1 - self._beta2**count)).sqrt_().add_(_EPS)
            tensors[name].addcdiv_(finite, scale, value=-learning_rate)

    def forget(self, names: set[str]) -> None:
        """Drop the state of the tensors `names`."""
        for name in names:
            del self.moments[name], self.steps[name]
