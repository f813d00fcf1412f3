"""Read the state of a training of this package: the averaged generator, and its discriminator.

Such a `state.safetensors` has the layout of `train_generator/state.py`.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from factory.checkpoint.base import Discriminator
from factory.checkpoint.families.discriminator_shapes import checked
from factory.checkpoint.pickles.source import refuse
from factory.identity import canonical_json

_AVERAGE, _DISCRIMINATOR = "mean/", "discriminator/"


def is_training(metadata: dict[str, str]) -> bool:
    """Whether metadata is that of a training's state."""
    return "training" in metadata and "family" not in metadata


def of_training(
    file: str, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> tuple[dict[str, Tensor], dict[str, str], Callable[[], Discriminator]]:
    """The generator's tensors, its metadata, and how to read the discriminator.

    Raises:
        WeightsError: If it is not a whole state of a generator that has grown to its size.
    """
    facts = _facts(file, metadata["training"])
    kwargs, side = facts["kwargs"], facts.get("resolution")
    if kwargs.get("img_resolution") != side:
        refuse(file, f"a training at {side!r:.20} px of a generator of "
               f"{kwargs.get('img_resolution')!r:.20} px", "it has grown to its size",
               "go on with the training, or take its last generator")  # fmt: skip
    names = facts.get("class_names", [])
    own = {
        "family": "stylegan2",
        "kwargs": canonical_json(kwargs),
        "layout": "a training of this package (mean)",
        "class_names": canonical_json(names),
    }
    settings = {name: kwargs.get(name) for name in ("img_resolution", "img_channels", "c_dim")}
    settings |= {"conv_clamp": None, "lr_multiplier": 1.0, "shortcut": "pooled"}
    others = _below(tensors, _DISCRIMINATOR)
    return _below(tensors, _AVERAGE), own, partial(checked, file, others, settings)


def _facts(file: str, text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
        canonical_json(facts)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("kwargs"), dict):
        refuse(file, "a training whose facts are no JSON object with kwargs", "a state is whole",
               "get the file again")  # fmt: skip
    return facts


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        n.removeprefix(prefix): one.float() for n, one in tensors.items() if n.startswith(prefix)
    }
