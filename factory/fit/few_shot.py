"""Train a head on a few pictures, together with cross-validation heads that leave some of them out.

All heads are trained epoch by epoch side by side: an epoch's features are made once for all of them, and
an epoch of the head that learns from all pictures is scored by those that do not.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from factory.data import IGNORE
from factory.fit.context import Checkpoint
from factory.fit.lse import LinearLayers, Loss, Picture, Trainer
from factory.fit.progress import Progress
from factory.segment.agreement import class_iou
from factory.spec.linear import LinearSpec

_LOWERED_TO = 0.1
"""Factor of the learning rate from `lower_after` on, as in the authors' code."""

_FIGURES = "figures"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training found."""

    head: LinearLayers
    """The head that was trained on all pictures."""
    epochs: int
    """Epochs that it was trained for."""
    loss: float
    """Mean loss of its last epoch."""
    score: float | None
    """Mean IoU on pictures that were left out, after as many epochs; None without folds."""


@dataclass(slots=True)
class _Best:
    """The head of the best epoch so far."""

    state: list[Tensor]
    epochs: int = 0
    loss: float = 0.0
    score: float = -1.0


class FewShotTraining:
    """One training, which can be stopped and resumed from the last epoch in its checkpoint."""

    def __init__(
        self,
        spec: LinearSpec,
        make_head: Callable[[], LinearLayers],
        loss: Loss,
        checkpoint: Checkpoint,
    ) -> None:
        """Start at the first epoch, or resume from `checkpoint`."""
        self._spec, self._checkpoint = spec, checkpoint
        self._trainers = [
            Trainer(make_head(), loss, spec.learning_rate) for _ in range(spec.folds + 1)
        ]
        self._best = _Best(self._trainers[0].state())
        self._epoch = 0
        self._restore(checkpoint.load())

    def run(
        self, num_pictures: int, pictures_in: Callable[[int], Sequence[Picture]], progress: Progress
    ) -> Trained:
        """Train to the end. `pictures_in` gives the pictures of an epoch, the same ones in each.

        Raises:
            Interrupted: If a stop was requested.
        """
        spec, best = self._spec, self._best
        num_passes = count_passes(spec, num_pictures)
        per_epoch = num_passes * count_steps(spec, num_pictures)
        progress.begin("training", spec.epochs * per_epoch, self._epoch * per_epoch)
        while self._epoch < spec.epochs and not self._is_over():
            self._train_epoch(pictures_in(self._epoch), num_passes, progress)
            self._checkpoint.save(self._kept())
        progress.reach(spec.epochs * per_epoch)
        self._trainers[0].restore(best.state)
        score = best.score if spec.folds else None
        return Trained(self._trainers[0].head, best.epochs, best.loss, score)

    def _is_over(self) -> bool:
        return bool(self._spec.folds) and self._epoch - self._best.epochs >= self._spec.patience

    def _train_epoch(
        self, pictures: Sequence[Picture], num_passes: int, progress: Progress
    ) -> None:
        spec = self._spec
        factor = 1.0 if self._epoch < spec.lower_after else _LOWERED_TO
        losses: list[float] = []
        for place, trainer in enumerate(self._trainers):
            found = trainer.train_epoch(
                _taught(pictures, spec.folds, place),
                num_passes,
                rate_factor=factor,
                on_step=lambda: progress.advance(1),
            )
            losses = losses or found
        self._epoch += 1
        score = self._score(pictures)
        if score > self._best.score or not spec.folds:
            self._best.state = self._trainers[0].state()
            self._best.epochs, self._best.score = self._epoch, score
            self._best.loss = float(np.mean(losses))

    def _score(self, pictures: Sequence[Picture]) -> float:
        """Mean IoU of what each head finds in the pictures that it has not seen; 0 without folds."""
        count = len(self._trainers[0].head.bias)
        table = np.zeros((count, count), dtype=np.int64)
        for place, trainer in enumerate(self._trainers[1:]):
            table += confusion(trainer.head, pictures[place :: self._spec.folds])
        return mean_iou(table) if self._spec.folds else 0.0

    def _kept(self) -> dict[str, Tensor]:
        best = self._best
        figures = [self._epoch, best.epochs, best.loss, best.score]
        kept = {_FIGURES: torch.tensor(figures, dtype=torch.float64)}
        states = [best.state, *(trainer.state() for trainer in self._trainers)]
        for place, state in enumerate(states):
            kept |= {f"{place}/{index}": tensor for index, tensor in enumerate(state)}
        return kept

    def _restore(self, kept: dict[str, Tensor]) -> None:
        """Resume from a checkpoint; one of another training is ignored."""
        if not kept:
            return
        length = len(self._best.state)
        first = [trainer.state() for trainer in self._trainers]
        try:
            states = [
                [kept[f"{place}/{index}"] for index in range(length)]
                for place in range(len(self._trainers) + 1)
            ]
            epoch, best_epochs, loss, score = kept[_FIGURES].tolist()
            for trainer, state in zip(self._trainers, states[1:], strict=True):
                trainer.restore(state)
        except (KeyError, ValueError):
            for trainer, state in zip(self._trainers, first, strict=True):
                trainer.restore(state)
            return
        self._epoch = int(epoch)
        self._best = _Best(states[0], int(best_epochs), loss, score)


def count_passes(spec: LinearSpec, num_pictures: int) -> int:
    """Passes over the pictures in an epoch, each of which ends in an update of the weights."""
    return -(-spec.steps_per_epoch // num_pictures)


def count_steps(spec: LinearSpec, num_pictures: int) -> int:
    """Steps of one picture in one pass, of all heads together."""
    return num_pictures * max(spec.folds, 1)


def _taught(pictures: Sequence[Picture], folds: int, place: int) -> Sequence[Picture]:
    """The pictures of the head at `place`: all for the first, and all but its own fold for others."""
    if place == 0:
        return pictures
    return [one for index, one in enumerate(pictures) if index % folds != place - 1]


def confusion(head: LinearLayers, pictures: Iterable[Picture]) -> Int64[np.ndarray, "k k"]:
    """Painted pixels by class (rows) and by the class that the head finds (columns)."""
    count = len(head.bias)
    table = torch.zeros(count * count, dtype=torch.int64)
    for picture in pictures:
        height, width = picture.ids.shape[1:]
        with torch.no_grad():
            found = head.logits(picture.maps, (height, width)).argmax(dim=1)
        is_painted = picture.ids != IGNORE
        both = picture.ids[is_painted] * count + found[is_painted]
        table += torch.bincount(both, minlength=count * count).cpu()
    return table.view(count, count).numpy()


def mean_iou(table: Int64[np.ndarray, "k k"]) -> float:
    """Mean over the classes that are painted or found."""
    return float(np.nanmean(class_iou(table)))
