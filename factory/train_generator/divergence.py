"""Losses of the latest steps: what a training reports, and how one that has diverged is stopped."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch

from factory.errors import JobError
from factory.train_generator.step import Losses

_STEPS_ON_GPU = 50
"""Steps on a GPU whose losses are looked at together: each look waits for the GPU."""


class RecentLosses:
    """Losses of steps that have not been looked at, still on the device."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Of the training in `folder`, whose steps are computed on `device`."""
        self._folder = folder
        self._most = _STEPS_ON_GPU if device.type == "cuda" else 1
        self._unchecked: list[tuple[int, Losses]] = []
        self._last: dict[str, float] = {}

    def add(self, num_images: int, losses: Losses) -> None:
        """Add those of the step after which `num_images` pictures were shown.

        Raises:
            JobError: If one that is looked at now is not finite.
        """
        self._unchecked.append((num_images, losses))
        if len(self._unchecked) >= self._most:
            self.check()

    def check(self) -> dict[str, float]:
        """Look at all of them, before anything is overwritten; returns those of the last step.

        Raises:
            JobError: If one is not finite: the training has diverged.
        """
        told, self._unchecked = self._unchecked, []
        values = [loss for _, losses in told for loss in losses.values()]
        numbers = iter(torch.stack(values).tolist() if values else ())
        for num_images, losses in told:
            self._last = {name: next(numbers) for name in losses}
            check_finite(self._last, num_images, self._folder, "loss of the ")
        return self._last


def check_finite(
    numbers: Mapping[str, float], num_images: int, folder: Path, noun: str = ""
) -> None:
    """Require finite losses or scores of the training in `folder`.

    Raises:
        JobError: If one of `numbers` is not finite.
    """
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise JobError(
                f"schedule: the {noun}{name} is {number} after {num_images} pictures: "
                "the training has diverged; lower schedule.learning_rate or raise "
                f"schedule.r1_gamma, and run it again: it goes on from what {folder} holds"
            )
