"""Train a segmentation network on a dataset: steps alternate with saves, and a stopped one resumes."""

import csv
import io
import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from factory.dataset.reader import Dataset
from factory.downstream.augment import augment
from factory.downstream.board import Board, open_board
from factory.downstream.loss import segmentation_loss
from factory.downstream.network import make_network
from factory.downstream.package import NetworkFacts, write_network
from factory.downstream.pairs import colour_figures, scored_batches, step_rng, training_batches
from factory.downstream.ranks import ALONE, Ranks
from factory.downstream.scoring import Overlaps, add_overlaps, count_overlaps
from factory.downstream.settings import NetworkSettings
from factory.errors import Interrupted, JobError, StoreError
from factory.store.single_file import replace_file

STATE_NAME, LOG_NAME = "state.pt", "log.csv"
_EMA = 0.98
"""Of each step, as far as the mean over the last 50 steps; the first steps count less."""

Progress = Callable[[int, int, float], None]
"""Called with the steps done, the steps in total, and the latest loss."""


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """The result of a training."""

    steps: int
    """Steps that were made."""
    best_miou: float | None
    """Best mean IoU on `val`, over all its pixels; None without such a split."""
    classes: tuple[str, ...]
    """Names of the classes."""


class NetworkTraining:
    """A training in a folder; with several ranks, each process has one, and all make the same steps."""

    def __init__(
        self,
        dataset: Dataset,
        val: Dataset | None,
        folder: Path,
        settings: NetworkSettings,
        ranks: Ranks = ALONE,
    ) -> None:
        """Begin, or resume what the folder holds.

        Raises:
            JobError: If the folder holds another training, or not all ranks see what it holds.
            PluginError: If MONAI is not installed.
            StoreError: If the folder holds a state that cannot be read.
        """
        self.dataset, self.val, self.folder, self.settings = dataset, val, folder, settings
        self.ranks, self.device = ranks, ranks.device
        self.classes = tuple(label.name for label in dataset.labels)
        torch.manual_seed(settings.seed)
        self.network = make_network(len(self.classes), settings.size).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=1e-2
        )
        self.step, self.since_best = 0, 0
        self.best_miou: float | None = None
        self.ema = {name: t.clone() for name, t in self.network.state_dict().items()}
        self.best = self.ema
        self.rows: list[dict[str, Any]] = []
        self.mean, self.std = colour_figures(dataset)
        self._resume()
        self.trained = ranks.wrap(self.network)

    @property
    def is_finished(self) -> bool:
        """Whether all steps are made, or `val` got no better for long enough."""
        return self.step >= self.settings.steps or self.since_best >= self.settings.patience

    def run(self, stop: threading.Event, progress: Progress) -> TrainedNetwork:
        """Make the missing steps, and write the network's files.

        Raises:
            Interrupted: If `stop` was set; what was made is saved.
            JobError: If there are fewer pairs than a batch.
            DamageError: If a shard is missing or damaged.
        """
        if not self.is_finished:
            is_first = self.ranks.rank == 0
            with open_board(self.folder, self.step) if is_first else nullcontext(Board()) as board:
                self._make_steps(board, stop, progress)
        self.network.load_state_dict(self.best if self.val is not None else self.ema)
        size = self.dataset[0].mask.shape[0]
        mean, std = ((v[0], v[1], v[2]) for v in (self.mean, self.std))
        facts = NetworkFacts(self.classes, mean, std, size, self.dataset.manifest.dataset_id)
        if self.ranks.rank == 0:
            write_network(self.network, facts, self.folder)
        return TrainedNetwork(self.step, self.best_miou, self.classes)

    def _make_steps(self, board: Board, stop: threading.Event, progress: Progress) -> None:
        weights = self._class_weights()
        batches = training_batches(
            self.dataset,
            self.settings.batch_size,
            seed=self.settings.seed,
            first_step=self.step,
            ranks=self.ranks,
        )
        while not self.is_finished:
            loss = self._make_step(*next(batches), weights)
            self.step += 1
            if self.step % self.settings.every == 0 or self.step == self.settings.steps:
                self._log(loss, board)
                self._save()
            progress(self.step, self.settings.steps, loss)
            # Signals reach processes at different steps; a rank that stops alone leaves others waiting.
            if self.ranks.any(stop.is_set()) and not self.is_finished:
                self._save()
                self.ranks.any(
                    flag=False
                )  # torchrun ends all when one ends: not before it is saved
                raise Interrupted(f"stopped after {self.step:,} steps; run it again to resume")

    def _make_step(self, images: Tensor, masks: Tensor, weights: Tensor | None) -> float:
        images, masks = images.to(self.device), masks.to(self.device)
        self.network.train()
        if self.settings.augment:
            rng = step_rng(self.settings.seed, self.step, self.ranks.rank)
            images, masks = augment(images, masks, rng)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * self._rate()
        loss = segmentation_loss(self._logits(images, self.trained), masks, weights)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        decay = min(_EMA, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                self.ema[name].lerp_(tensor, 1 - decay)
        return float(loss.detach())

    def _logits(self, images: Tensor, network: nn.Module) -> Float[Tensor, "n k h w"]:
        mean, std = (
            torch.tensor(v, device=self.device)[:, None, None] for v in (self.mean, self.std)
        )
        is_half = self.settings.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_half):
            logits: Tensor = network((images / 255 - mean) / std)
        return logits.float()

    def _rate(self) -> float:
        """Share of the highest learning rate."""
        warm_up = max(1, self.settings.steps // 10)
        if self.step < warm_up:
            return (self.step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * self.step / self.settings.steps))

    def _class_weights(self) -> Tensor | None:
        if self.settings.class_weights == "none":
            return None
        px = np.sum([record.class_px for record in self.dataset.manifest.records], axis=0)
        weights = 1 / np.sqrt(np.maximum(px, 1))
        weights *= len(weights) / weights.sum()
        return torch.tensor(weights, dtype=torch.float32, device=self.device)

    def _score(self) -> tuple[float, list[float]]:
        """Mean IoU over classes that `val` contains, and the IoU of each class, of the EMA weights."""
        assert self.val is not None
        network = make_network(len(self.classes), self.settings.size).to(self.device).eval()
        network.load_state_dict(self.ema)
        rows: list[Overlaps] = []
        with torch.inference_mode():
            for images, masks in scored_batches(self.val, self.settings.batch_size):
                ids = self._logits(images.to(self.device), network).argmax(dim=1).byte().cpu()
                rows += [
                    count_overlaps(one, true, len(self.classes))
                    for one, true in zip(ids.numpy(), masks.byte().numpy(), strict=True)
                ]
        iou = add_overlaps(rows).iou()
        if np.isnan(iou).all():
            raise JobError(
                where=f"{self.val.uri}: val",
                found="no pixel has a class",
                remedy="use a dataset without this split, or whose masks are not all 255",
            )
        return float(np.nanmean(iou)), [round(float(value), 4) for value in iou]

    def _log(self, loss: float, board: Board) -> None:
        row: dict[str, Any] = {
            "step": self.step,
            "loss": round(loss, 5),
            "rate": self.settings.learning_rate * self._rate(),
        }
        if self.val is not None:
            # One rank scores: if ranks differed in a last digit, they might not stop together.
            miou, by_class = self.ranks.from_first(
                self._score() if self.ranks.rank == 0 else (0.0, [])
            )
            row |= {"val_miou": round(miou, 4)}
            row |= {f"val_iou_{name}": v for name, v in zip(self.classes, by_class, strict=True)}
            if self.best_miou is None or miou > self.best_miou:
                self.best_miou, self.since_best = miou, 0
                self.best = {name: tensor.clone() for name, tensor in self.ema.items()}
            else:
                self.since_best += 1
        self.rows.append(row)
        if self.ranks.rank != 0:
            return
        sink = io.StringIO()
        writer = csv.DictWriter(sink, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        replace_file(self.folder / LOG_NAME, sink.getvalue().encode())
        board.write(row)

    def _save(self) -> None:
        if self.ranks.rank != 0:
            return
        state = {
            "settings": self.settings.model_dump(),
            "dataset": self._data_facts(),
            "ranks": self.ranks.count,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema,
            "best": self.best,
            "figures": [self.step, self.since_best, self.best_miou],
            "rows": self.rows,
        }
        sink = io.BytesIO()
        torch.save(state, sink)
        replace_file(self.folder / STATE_NAME, sink.getvalue())

    def _data_facts(self) -> list[str]:
        """Which pairs it is trained on: other ones would be read at the same steps."""
        parts = [self.dataset, *([self.val] if self.val is not None else [])]
        return [record.sha256 for part in parts for record in part.manifest.records]

    def _resume(self) -> None:
        path = self.folder / STATE_NAME
        is_there = path.exists()
        if self.ranks.any(is_there) != is_there:
            raise JobError(
                where=str(self.folder),
                found="a training that not all machines see",
                remedy="choose a folder on a disk that they share",
            )
        if not is_there:
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self._check_same(state)
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.ema, self.best, self.rows = state["ema"], state["best"], state["rows"]
            self.step, self.since_best, self.best_miou = state["figures"]
        except (RuntimeError, KeyError, ValueError, TypeError, OSError, EOFError) as error:
            raise StoreError(
                where=str(path), found="cannot be read", remedy="remove it, to begin anew"
            ) from error

    def _check_same(self, state: dict[str, Any]) -> None:
        """Raise a `JobError` if a state is that of another training."""
        found, wanted = state["settings"], self.settings.model_dump()
        names = [name for name in wanted if found.get(name) != wanted[name]]
        problem = ""
        if names:
            problem, same = f"a training with another {', '.join(names)}", "settings"
        elif state["dataset"] != self._data_facts():
            problem, same = "a training on other pairs", "dataset and splits"
        elif state.get("ranks", 1) != self.ranks.count:
            problem, same = f"a training by {state.get('ranks', 1)} processes", "number of them"
        if problem:
            remedy = f"choose another output folder, or the same {same}"
            raise JobError(where=str(self.folder), found=problem, remedy=remedy)
