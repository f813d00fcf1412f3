"""Train a network that makes images from masks, resumable; its file, and images from it."""

import csv
import io
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from factory.data import IGNORE
from factory.dataset.reader import Dataset
from factory.downstream.pairs import step_rng, training_batches
from factory.downstream.translation_network import (
    LATENTS,
    SIDE_STEP,
    PatchDiscriminator,
    Translator,
    make_planes,
)
from factory.downstream.translation_settings import TranslationSettings
from factory.errors import Interrupted, JobError, PluginError, StoreError
from factory.store.single_file import replace_file

STATE_NAME, LOG_NAME, FILE_NAME = "state.pt", "log.csv", "translator.safetensors"
_FACTS = "maskfactory"
_EMA = 0.995
_RATES = (4e-4, 4e-4)
"""Of generator and discriminator. SPADE has 1e-4 and 4e-4, for networks ten times as wide."""
_BETAS = (0.0, 0.9)
_FEATURE_WEIGHT, _PIXEL_WEIGHT = 10.0, 10.0
"""SPADE's weight of features, and a tenth of pix2pix's for pixels, in place of SPADE's VGG loss."""

Progress = Callable[[int, int, float], None]
"""Called with the steps done, the steps in total, and the pixels' mean difference."""


@dataclass(frozen=True, slots=True)
class TranslatorFacts:
    """What a translator's file says of itself."""

    classes: tuple[str, ...]
    """Names of the classes, by id."""
    size: str
    """`S` or `M`."""
    dataset_id: str
    """The dataset it was trained on."""


class TranslationTraining:
    """A training in a folder."""

    def __init__(self, dataset: Dataset, folder: Path, settings: TranslationSettings) -> None:
        """Begin, or resume what the folder holds.

        Raises:
            JobError: If the folder holds another training, or images have sides that do not fit.
            StoreError: If its state cannot be read.
        """
        self.dataset, self.folder, self.settings = dataset, folder, settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        labels = tuple(label.name for label in dataset.labels)
        self.facts = TranslatorFacts(labels, settings.size, dataset.manifest.dataset_id)
        check_sides(dataset[0].mask.shape, "dataset")
        torch.manual_seed(settings.seed)
        self.translator = Translator(len(labels), settings.size).to(self.device)
        self.critic = PatchDiscriminator(len(labels), settings.size).to(self.device)
        self.optimisers = [
            torch.optim.Adam(network.parameters(), lr=rate, betas=_BETAS)
            for network, rate in zip((self.translator, self.critic), _RATES, strict=True)
        ]
        self.ema = {name: t.clone() for name, t in self.translator.state_dict().items()}
        self.step = 0
        self.rows: list[dict[str, float]] = []
        self._resume()

    def run(self, stop: threading.Event, progress: Progress) -> Path:
        """Make the missing steps; returns the translator's file.

        Raises:
            Interrupted: If `stop` was set; what was made is saved.
            JobError: If there are fewer pairs than a batch.
            DamageError: If a shard is missing or damaged.
        """
        settings = self.settings
        batches = training_batches(
            self.dataset, settings.batch_size, seed=settings.seed, first_step=self.step
        )
        while self.step < settings.steps:
            row = self._make_step(*next(batches))
            self.step += 1
            if self.step % settings.every == 0 or self.step == settings.steps:
                self.rows.append({"step": self.step, **row})
                self._save()
            progress(self.step, settings.steps, row["pixels"])
            if stop.is_set() and self.step < settings.steps:
                self._save()
                raise Interrupted(f"stopped after {self.step:,} steps; run it again to resume")
        path = self.folder / FILE_NAME
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.ema.items()}
        replace_file(path, save(tensors, {_FACTS: json.dumps(asdict(self.facts))}))
        return path

    def _make_step(self, images: Tensor, masks: Tensor) -> dict[str, float]:
        rng = step_rng(self.settings.seed, self.step)
        real = images.to(self.device) / 255
        planes = make_planes(masks.to(self.device), len(self.facts.classes))
        z = torch.randn(len(real), LATENTS, generator=rng).to(self.device)
        made = self.translator(planes, z)
        scores = [self.critic(x, planes)[-1] for x in (real, made.detach())]
        critic_loss = functional.relu(1 - scores[0]).mean() + functional.relu(1 + scores[1]).mean()
        self._update(1, critic_loss)
        with torch.no_grad():
            wanted = self.critic(real, planes)[:-1]
        *features, score = self.critic(made, planes)
        matched = torch.stack(
            [functional.l1_loss(a, b) for a, b in zip(features, wanted, strict=True)]
        ).mean()
        pixels = functional.l1_loss(made, real)
        loss = -score.mean() + _FEATURE_WEIGHT * matched + _PIXEL_WEIGHT * pixels
        self._update(0, loss)
        decay = min(_EMA, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.translator.state_dict().items():
                self.ema[name].lerp_(tensor, 1 - decay)
        found = {
            "critic": critic_loss,
            "score": score.mean(),
            "features": matched,
            "pixels": pixels,
        }
        return {name: round(float(value.detach()), 5) for name, value in found.items()}

    def _update(self, place: int, loss: Tensor) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers[place].step()

    def _save(self) -> None:
        state = {
            "settings": self.settings.model_dump(),
            "dataset": [record.sha256 for record in self.dataset.manifest.records],
            "networks": [self.translator.state_dict(), self.critic.state_dict()],
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "ema": self.ema,
            "step": self.step,
            "rows": self.rows,
        }
        sink = io.BytesIO()
        torch.save(state, sink)
        replace_file(self.folder / STATE_NAME, sink.getvalue())
        text = io.StringIO()
        if self.rows:
            writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        replace_file(self.folder / LOG_NAME, text.getvalue().encode())

    def _resume(self) -> None:
        path = self.folder / STATE_NAME
        if not path.exists():
            return
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            known = [record.sha256 for record in self.dataset.manifest.records]
            if state["settings"] != self.settings.model_dump() or state["dataset"] != known:
                raise JobError(
                    where=str(self.folder),
                    found="a training with other settings, or on other pairs",
                    remedy="choose another output folder",
                )
            networks: list[nn.Module] = [self.translator, self.critic]
            for network, tensors in zip(networks, state["networks"], strict=True):
                network.load_state_dict(tensors)
            for optimiser, inner in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(inner)
            self.ema, self.step, self.rows = state["ema"], state["step"], state["rows"]
        except (RuntimeError, KeyError, ValueError, TypeError, OSError, EOFError) as error:
            raise StoreError(
                where=str(path), found="cannot be read", remedy="remove it, to begin anew"
            ) from error


@dataclass(frozen=True, slots=True)
class OpenTranslator:
    """A translator that was trained."""

    network: Translator
    """The network."""
    facts: TranslatorFacts
    """What its file says of it."""

    def translate(
        self, masks: Int64[Tensor, "n h w"], seed: int = 0
    ) -> UInt8[np.ndarray, "n h w 3"]:
        """Images of masks: a function of masks and seed. Another seed has other looks.

        Raises:
            JobError: If sides are no multiples of 8, or a mask has an unknown class.
        """
        check_sides(tuple(masks.shape[1:]), "mask")
        stranger = masks[(masks >= len(self.facts.classes)) & (masks != IGNORE)]
        if len(stranger):
            allowed = ", ".join(f"{k} = {name}" for k, name in enumerate(self.facts.classes))
            raise JobError(
                where="mask", found=f"found class {int(stranger[0])}", allowed=f"{allowed}, 255"
            )
        rng = torch.Generator().manual_seed(seed)
        z: Float[Tensor, "n z"] = torch.randn(len(masks), LATENTS, generator=rng)
        with torch.inference_mode():
            made = self.network(make_planes(masks, len(self.facts.classes)), z)
        pixels: UInt8[np.ndarray, "n h w 3"] = (
            (made * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        )
        return pixels


def open_translator(path: Path) -> OpenTranslator:
    """Open a translator's file, or the folder of its training. Nothing in it is run.

    Raises:
        JobError: If there is no such file.
        PluginError: If it is no whole translator.
    """
    path = path / FILE_NAME if path.is_dir() else path
    if not path.exists():
        raise JobError(where=str(path), found="no such file", remedy=f"give a {FILE_NAME}")
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {})[_FACTS])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        classes = tuple(str(name) for name in document["classes"])
        facts = TranslatorFacts(classes, str(document["size"]), str(document["dataset_id"]))
        if not 0 < len(classes) <= IGNORE:
            raise ValueError("classes")
        network = Translator(len(classes), facts.size).eval()
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise PluginError(
            where=str(path),
            found="is no translator",
            allowed=f"{FILE_NAME} that `factory train-translation` wrote",
        ) from error
    return OpenTranslator(network, facts)


def check_sides(shape: tuple[int, ...], where: str) -> None:
    """Require sides that the translator can halve and double again.

    Raises:
        JobError: If one is no multiple of 8.
    """
    if any(side % SIDE_STEP or not side for side in shape):
        found = " x ".join(map(str, shape))
        raise JobError(where=where, found=f"{found} px", allowed=f"multiples of {SIDE_STEP}")
