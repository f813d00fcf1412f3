"""Describe a checkpoint without executing anything in it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from factory.checkpoint import Checkpoint, Discriminator, read_checkpoint, write_safetensors
from factory.errors import WeightsError
from factory.generate.base import GeneratorFacts, load_generator
from factory.generate.weights.find import digest_of_weights
from factory.spec import GeneratorSpec


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One feature map."""

    name: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """The description of a checkpoint: everything that is needed to use it in a job."""

    family: str
    """The generator `kind` to put into a job."""
    layout: str
    """The file format it was found in."""
    sha256: str
    """Digest of the file, for the job."""
    resolution: int
    channels: int
    """Of its images: 1 grey, 3 RGB, 4 RGB and alpha."""
    num_classes: int
    class_names: tuple[str, ...]
    num_tensors: int
    num_parameters: int
    layers: tuple[LayerFacts, ...]
    """Feature maps, from coarse to fine."""
    assumptions: tuple[str, ...]
    """Values that the file does not state and that were filled in."""
    notes: tuple[str, ...]
    """Licence terms, ignored settings."""
    warnings: tuple[str, ...]
    """What is probably not as it should be."""
    license: str
    discriminator: str
    """What the file has of a discriminator, in words: `none`, one that can be used, or why it cannot."""
    source_sha256: str
    """Digest of the Python source inside the file; empty if it has none. It is never run."""


def inspect_weights(path: Path, *, config: Path | None = None) -> Inspection:
    """Read the checkpoint at `path`, build its network, and describe it.

    `config` is a JSON file with settings, for files that hold tensors alone.

    Raises:
        WeightsError: If it is not a complete checkpoint of a known family.
    """
    return inspect_with_facts(path, config=config)[0]


def inspect_with_facts(
    path: Path, *, config: Path | None = None
) -> tuple[Inspection, GeneratorFacts]:
    """Do as `inspect_weights`, and give the capabilities of the network too, which methods ask for.

    Raises:
        WeightsError: If it is not a complete checkpoint of a known family.
    """
    checkpoint = read_checkpoint(path, config=config, with_discriminator=True)
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "converted.safetensors"
        write_safetensors(checkpoint, converted)
        spec = GeneratorSpec(kind=checkpoint.family)
        try:
            facts = load_generator(spec, converted, device=torch.device("cpu")).facts
        except WeightsError as error:  # it names the copy, which is gone in a moment
            raise WeightsError(str(error).replace(str(converted), str(path))) from error
    return _described(checkpoint, facts, path), facts


def _described(checkpoint: Checkpoint, facts: GeneratorFacts, path: Path) -> Inspection:
    return Inspection(
        family=checkpoint.family,
        layout=checkpoint.layout,
        sha256=digest_of_weights(path),
        resolution=facts.resolution,
        channels=facts.channels,
        num_classes=facts.num_classes,
        class_names=facts.class_names,
        num_tensors=len(checkpoint.tensors),
        num_parameters=sum(tensor.numel() for tensor in checkpoint.tensors.values()),
        layers=tuple(
            LayerFacts(name, shape.channels, shape.height, shape.width)
            for name, shape in facts.layers.items()
        ),
        assumptions=tuple(checkpoint.assumptions),
        notes=tuple(checkpoint.notes),
        warnings=tuple(checkpoint.warnings),
        license=checkpoint.license,
        discriminator=describe_discriminator(checkpoint.discriminator),
        source_sha256=checkpoint.source_sha256,
    )


def describe_discriminator(found: Discriminator | None) -> str:
    """What a file has of a discriminator, in words."""
    if found is None:
        return "none"
    if found.unfit:
        return f"not usable: {found.unfit}"
    num_parameters = sum(tensor.numel() for tensor in found.tensors.values())
    side, num_classes = found.kwargs["img_resolution"], found.kwargs["c_dim"]
    classes = f", {num_classes} classes" if num_classes else ""
    return f"residual, {side} x {side} px{classes}, {num_parameters:,} parameters"
