"""Read a file's generator together with the discriminator that lies beside it."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from factory.checkpoint.base import DISCRIMINATOR_PREFIX, Checkpoint, Discriminator
from factory.checkpoint.families.choose import from_object, from_tensors
from factory.checkpoint.families.containers import Containers, Group, find_containers
from factory.checkpoint.families.discriminator import find_discriminator
from factory.checkpoint.families.discriminator_shapes import checked, guarded
from factory.checkpoint.families.own_training import is_training, of_training
from factory.checkpoint.families.tensorflow import is_tensorflow
from factory.checkpoint.files.content import Content
from factory.checkpoint.pickles.source import Budget

_Search = Callable[[], Discriminator | None]


def build_checkpoint(
    content: Content,
    given: dict[str, Any],
    find_config: Callable[[], dict[str, Any]],
    *,
    with_discriminator: bool,
) -> Checkpoint:
    """Build the checkpoint of a file's content.

    Args:
        content: The parsed file.
        given: Settings of a job or config.
        find_config: Reads the config.json beside the file, which a Hugging Face BigGAN needs.
        with_discriminator: Read the discriminator too, where there is one.

    Raises:
        WeightsError: If there is no generator in it, or it contradicts `given`.
    """
    file = content.budget.file
    search: _Search = partial(_in_object, content)
    if content.tensors is None:
        found, layout = content.found, content.layout
        made = from_object(found, content.budget, layout, given, find_config)
    else:
        own, metadata, search = _divided(file, content.tensors, content.metadata)
        made = from_tensors(file, own, metadata, given)
    if not with_discriminator:
        return made
    return dataclasses.replace(made, discriminator=guarded(file, search))


def _in_object(content: Content) -> Discriminator | None:
    if is_tensorflow(content.found):
        return Discriminator(unfit="TensorFlow's layout of a discriminator is not read")
    budget = content.budget
    return find_discriminator(find_containers(content.found, budget), budget)


def _divided(
    file: str, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> tuple[dict[str, Tensor], dict[str, str], _Search]:
    """The generator's tensors of a safetensors file, its metadata, and how to find the discriminator."""
    if is_training(metadata):
        return of_training(file, tensors, metadata)
    if "discriminator" in metadata:
        below = len(DISCRIMINATOR_PREFIX)
        others = {n: one for n, one in tensors.items() if n.startswith(DISCRIMINATOR_PREFIX)}
        own = {name: one for name, one in tensors.items() if name not in others}
        renamed = {name[below:]: one for name, one in others.items()}
        return own, metadata, partial(_stated, file, renamed, metadata["discriminator"])
    group = Group((), dict(tensors))
    return (
        tensors,
        metadata,
        partial(find_discriminator, Containers(groups=[group]), Budget(file, tensor_bytes=0)),
    )


def _stated(file: str, tensors: dict[str, Tensor], settings: str) -> Discriminator:
    """The discriminator of a file of ours, which states its settings."""
    kwargs = json.loads(settings)
    if not isinstance(kwargs, dict):
        return Discriminator(unfit="its settings are no JSON object")
    return checked(file, tensors, kwargs)
