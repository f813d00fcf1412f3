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
        # All tensors by one call for each operation: a GPU would wait for hundreds of small ones.
        names = list(gradients)
        for name in names:
            self.steps[name] = self.steps.get(name, 0) + 1
            if name not in self.moments:
                self.moments[name] = torch.zeros_like(tensors[name])
        if not names:
            return
        finite = [torch.nan_to_num(g, nan=0.0, posinf=1e5, neginf=-1e5) for g in gradients.values()]
        moments = [self.moments[name] for name in names]
        torch._foreach_mul_(moments, self._beta2)
        torch._foreach_addcmul_(moments, finite, finite, value=1 - self._beta2)
        scales = torch._foreach_div(moments, [1 - self._beta2 ** self.steps[n] for n in names])
        torch._foreach_sqrt_(scales)
        torch._foreach_add_(scales, _EPS)
        changed = [tensors[name] for name in names]
        torch._foreach_addcdiv_(changed, finite, list(scales), value=-learning_rate)

    def forget(self, names: set[str]) -> None:
        """Drop the state of the tensors `names`."""
        for name in names:
            del self.moments[name], self.steps[name]
