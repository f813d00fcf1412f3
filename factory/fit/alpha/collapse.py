"""Tell early that masks collapse: all background, or all foreground, in every image."""

from torch import Tensor

from factory.errors import JobError

_SHARE = 0.02
"""Mean alpha this close to 0 or 1 is a mask of one class."""

_WINDOWS = 50
"""Part of the schedule for which masks must be of one class: a fiftieth."""

_LEAST_STEPS = 3

_ADVICE = {
    "background": "raise mask_weight or least_foreground, or lower background_weight",
    "foreground": "raise background_weight or least_background, or lower adversarial_weight",
}


class CollapseDetector:
    """Watches the masks of a training."""

    def __init__(self, steps: int) -> None:
        """For a schedule of so many steps."""
        self._steps = steps
        self.window = max(_LEAST_STEPS, steps // _WINDOWS)
        self.runs = {"background": 0, "foreground": 0}
        """Steps in a row, up to now, in which every mask was of one class."""

    def observe(self, step: int, alpha: Tensor) -> None:
        """Look at the masks (`n` images) of `step`, counted from 1.

        Raises:
            JobError: If all masks were of one class for too long.
        """
        shares = alpha.detach().mean(dim=(1, 2))
        found = {
            "background": bool((shares < _SHARE).all()),
            "foreground": bool((shares > 1 - _SHARE).all()),
        }
        for name, is_all in found.items():
            self.runs[name] = self.runs[name] + 1 if is_all else 0
            if self.runs[name] >= self.window:
                raise JobError(
                    where="dataset.segmenter",
                    found=f"every mask was all {name} in {self.runs[name]} steps up to step {step} of "
                    f"{self._steps}: the training has collapsed",
                    remedy=f"{_ADVICE[name]}, lower learning_rate, or choose another preset",
                )
