"""The state of a training, and its file: tensors in safetensors, the rest as JSON in the metadata.

The file does not depend on the device, and nothing in it is executed. Its names are older than those of
the code: `mean/` holds the EMA weights, `generator_waits_until` is `warm_up_until`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from factory.errors import StoreError
from factory.identity import canonical_json
from factory.store.local import LocalStore
from factory.train_generator.augment import Adaptation
from factory.train_generator.generator import Tensors
from factory.train_generator.judge import Judge
from factory.train_generator.optimiser import Adam

STATE_NAME = "state.safetensors"

_PARTS = (
    "generator",
    "mean",
    "discriminator",
    "generator_moments",
    "discriminator_moments",
    "judge",
)
_PACKED = dict.fromkeys(_PARTS, torch.float16) | {
    # Second moments are squares: float16 would round the smallest of them to zero.
    "generator_moments": torch.bfloat16,
    "discriminator_moments": torch.bfloat16,
}


@dataclass
class State:
    """Everything that the next step depends on, besides the settings and the pictures."""

    kwargs: dict[str, Any]
    """Constructor settings of the full-sized generator."""
    class_names: tuple[str, ...]
    """By class id."""
    resolution: int
    """Resolution that is being trained."""
    generator: Tensors
    """The generator being trained."""
    ema: Tensors
    """The generator's EMA weights (exponential moving average): the ones that are exported."""
    discriminator: Tensors
    """The discriminator."""
    generator_steps: Adam
    """The generator's optimiser."""
    discriminator_steps: Adam
    """The discriminator's optimiser."""
    judge: Judge
    """The network that scores samples."""
    num_steps: int = 0
    """Steps taken."""
    num_images: int = 0
    """Real pictures shown."""
    warm_up_until: int = 0
    """Number of pictures until which only the discriminator is trained."""
    mean_path: float | Tensor = 0.0
    """Running mean of the path length: change of the image per step in w."""
    adaptation: Adaptation = field(default_factory=Adaptation)
    """Strength of the augmentation."""
    scores: list[dict[str, float]] = field(default_factory=list)
    """All scores so far."""


def encode_state(state: State, *, packed: bool = False) -> bytes:
    """Serialise `state`; `packed` rounds tensors to 16 bits, for archiving or sending."""
    parts: dict[str, Tensors] = {
        "generator": state.generator,
        "mean": state.ema,
        "discriminator": state.discriminator,
        "generator_moments": state.generator_steps.moments,
        "discriminator_moments": state.discriminator_steps.moments,
        "judge": state.judge.tensors,
    }
    tensors = {
        f"{part}/{name}": _plain(tensor, _PACKED[part] if packed else torch.float32)
        for part, group in parts.items()
        for name, tensor in group.items()
    }
    adaptation = state.adaptation
    facts = {
        "kwargs": state.kwargs,
        "class_names": list(state.class_names),
        "resolution": state.resolution,
        "num_steps": state.num_steps,
        "num_images": state.num_images,
        "generator_waits_until": state.warm_up_until,
        "mean_path": float(state.mean_path),
        "adaptation": [adaptation.p, float(adaptation.sign_sum), adaptation.count],
        "judge_accuracy": state.judge.accuracy,
        "scores": state.scores,
        "generator_steps": state.generator_steps.steps,
        "discriminator_steps": state.discriminator_steps.steps,
    }
    return save(tensors, {"training": canonical_json(facts)})


def save_state(state: State, folder: Path) -> None:
    """Write `state` into `folder` atomically.

    Raises:
        StoreError: If it cannot be written.
    """
    LocalStore(str(folder)).replace(STATE_NAME, encode_state(state))


def load_state(path: Path, device: torch.device) -> State:
    """Read the state file at `path`, packed or not.

    Raises:
        StoreError: If it is not a complete state file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path}: not a whole training state ({error}); put a whole one there, or remove it to "
            "begin anew"
        ) from error
    parts: dict[str, Tensors] = {part: {} for part in _PARTS}
    for full, tensor in tensors.items():
        part, _, name = full.partition("/")
        parts[part][name] = tensor.to(device, torch.float32, copy=True)
    return State(
        kwargs=facts["kwargs"],
        class_names=tuple(facts["class_names"]),
        resolution=facts["resolution"],
        generator=parts["generator"],
        ema=parts["mean"],
        discriminator=parts["discriminator"],
        generator_steps=_optimiser(parts["generator_moments"], facts["generator_steps"]),
        discriminator_steps=_optimiser(
            parts["discriminator_moments"], facts["discriminator_steps"]
        ),
        judge=Judge(parts["judge"], facts["judge_accuracy"]),
        num_steps=facts["num_steps"],
        num_images=facts["num_images"],
        warm_up_until=facts["generator_waits_until"],
        mean_path=facts["mean_path"],
        adaptation=Adaptation(*facts["adaptation"]),
        scores=facts["scores"],
    )


def _optimiser(moments: Tensors, steps: dict[str, int]) -> Adam:
    optimiser = Adam()
    optimiser.moments, optimiser.steps = moments, steps
    return optimiser


def _plain(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    # A copy, because safetensors rejects tensors that share memory, as the resample filters do.
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()
