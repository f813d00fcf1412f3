"""Find a generator's weights: fetch, validate the digest, convert once into a cache, and read."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from factory.checkpoint import (
    DISCRIMINATOR_PREFIX,
    FAMILIES,
    Discriminator,
    check_finite,
    read_checkpoint,
    write_safetensors,
)
from factory.checkpoint.files.content import unreadable
from factory.errors import WeightsError
from factory.generate.weights.fetch import OnBytes, fetch_weights, ignore_bytes
from factory.identity import digest_of, digest_of_file
from factory.log import log_event
from factory.spec import GeneratorSpec
from factory.spec.shipped import SHIPPED_PREFIX
from factory.store.cache import cache_folder
from factory.store.seen import note_place

_CONVERSION = 2
"""Version of the conversion: increase it when the same file would give other tensors than before."""


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """A weights file on this machine, with the digest of the original."""

    path: Path | None
    sha256: str
    warnings: tuple[str, ...] = ()
    """What is probably not as the user thinks, as reading the file has shown."""


class TensorBag:
    """Tensors by name, taken one by one: a missing or an unused tensor is an error.

    A network built from a file whose tensors do not all fit would silently give wrong images.
    """

    def __init__(self, tensors: dict[str, Tensor], *, source: str) -> None:
        """Hold `tensors`; `source` names them in errors."""
        self._tensors = dict(tensors)
        self._source = source

    def __contains__(self, name: str) -> bool:
        """Whether the tensor `name` exists and has not been taken."""
        return name in self._tensors

    def take(self, name: str, *shape: int) -> Tensor:
        """Take the tensor `name` as float32; with `shape`, it must have that shape.

        Raises:
            WeightsError: If it is missing or has another shape.
        """
        if name not in self._tensors:
            raise WeightsError(f"{self._source}: tensor {name!r} is missing; the file is not whole")
        tensor = self._tensors.pop(name)
        if shape and tuple(tensor.shape) != shape:
            raise WeightsError(
                f"{self._source}: tensor {name!r} has shape {tuple(tensor.shape)}, expected {shape};"
                " the file's settings do not fit its tensors"
            )
        return tensor.float()

    def take_all(self) -> dict[str, Tensor]:
        """Take every tensor, as float32 copies."""
        return {name: self.take(name).clone() for name in list(self._tensors)}

    def finish(self) -> None:
        """Require that every tensor has been taken.

        Raises:
            WeightsError: If tensors are left.
        """
        if self._tensors:
            left = sorted(self._tensors)
            raise WeightsError(
                f"{self._source}: {len(left)} tensors do not belong to this network, the first is "
                f"{left[0]!r}; it is another architecture than its settings say"
            )


@dataclass(frozen=True, slots=True)
class WeightsContent:
    """The content of a safetensors file: tensors, settings and metadata."""

    tensors: TensorBag
    kwargs: dict[str, Any]
    """Constructor settings of the network (JSON under `kwargs` in the file's metadata)."""
    metadata: dict[str, str]
    """All of the file's metadata."""


def find_weights(spec: GeneratorSpec, on_bytes: OnBytes = ignore_bytes) -> LocalWeights:
    """Fetch the weights of `spec`, validate their digest, and convert them.

    Built-in families never use a file in its original format: it is read once as data, written as
    safetensors into the cache under the source's digest, and only that is used from then on.
    `on_bytes` is the progress callback of a download.

    Raises:
        MissingWeightsError: If they are not on this machine.
        WeightsError: If they cannot be fetched, their SHA-256 differs from the job's, or they belong
            to another family than the generator's.
    """
    if not spec.weights:
        return LocalWeights(None, "")
    path = fetch_weights(spec, on_bytes)
    found = digest_of_weights(path)
    if spec.sha256 and found != spec.sha256:
        raise WeightsError(
            f"dataset.generator.sha256: {path} has {found}, the job demands {spec.sha256}; get the "
            "right file, or correct the job if you trust this one"
        )
    if "://" not in spec.weights and not spec.weights.startswith(SHIPPED_PREFIX):
        note_place(found, path)
    if spec.kind not in FAMILIES:
        return LocalWeights(path, found)
    is_complete = is_converted(path) and not spec.settings
    converted = path if is_complete else _convert_once(path, found, spec.settings)
    metadata = _metadata_of(converted)
    family = metadata.get("family", spec.kind)
    if family != spec.kind:
        raise WeightsError(
            f"dataset.generator.kind: found {spec.kind!r}, but {spec.weights} holds a {family}; set "
            f"kind: {family}"
        )
    warnings = _warnings_in(metadata)
    for warning in warnings:
        log_event("weights_warning", level=logging.WARNING, what=warning)
    return LocalWeights(converted, found, warnings)


def _warnings_in(metadata: dict[str, str]) -> tuple[str, ...]:
    try:
        found = json.loads(metadata.get("warnings", "[]"))
    except (ValueError, RecursionError):
        return ()
    return tuple(str(line)[:400] for line in found[:8]) if isinstance(found, list) else ()


def digest_of_weights(path: Path) -> str:
    """SHA-256 of a weights file; for a folder, of the digests of the files in it.

    Raises:
        WeightsError: If it cannot be read.
    """
    try:
        if path.is_dir():
            names = sorted(entry for entry in path.iterdir() if entry.is_file())
            return digest_of({entry.name: digest_of_file(entry) for entry in names})
        return digest_of_file(path)
    except OSError as error:
        raise unreadable(path, error) from error


def is_converted(path: Path) -> bool:
    """Whether `path` is already safetensors that states its family and settings."""
    return path.is_file() and {"family", "kwargs"} <= _metadata_of(path).keys()


def _metadata_of(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def _convert_once(path: Path, sha256: str, settings: dict[str, Any]) -> Path:
    """Return the converted file from the cache if its digest is right, else convert `path` again."""
    folder = cache_folder("weights")
    chosen = f"-{digest_of(settings)[:16]}" if settings else ""
    target = folder / f"{sha256}-{_CONVERSION}{chosen}.safetensors"
    proof = target.with_suffix(".sha256")
    if target.is_file() and proof.is_file() and proof.read_text() == digest_of_file(target):
        return target
    checkpoint = read_checkpoint(path, settings=settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_safetensors(checkpoint, target)
        proof.write_text(digest_of_file(target))
    except OSError as error:
        raise WeightsError(
            f"{target}: {(error.strerror or str(error)).lower()}; the converted weights need room "
            "there: set XDG_CACHE_HOME to another folder"
        ) from error
    log_event("weights_converted", family=checkpoint.family, layout=checkpoint.layout)
    for assumption in checkpoint.assumptions:
        log_event("weights_assumed", level=logging.WARNING, what=assumption)
    return target


def read_discriminator(spec: GeneratorSpec) -> Discriminator | None:
    """The discriminator in the original file of the weights of `spec`, if there is one.

    It is read from that file and not from the cache, where conversions are without it.

    Raises:
        MissingWeightsError: If the weights are not on this machine.
        WeightsError: If they cannot be fetched or read.
    """
    if not spec.weights or spec.kind not in FAMILIES:
        return None
    path = fetch_weights(spec, ignore_bytes)
    return read_checkpoint(path, settings=spec.settings, with_discriminator=True).discriminator


def read_weights(path: Path) -> WeightsContent:
    """Read the generator of a safetensors file; nothing in it is executed.

    Raises:
        WeightsError: If it is not a complete safetensors file, or holds numbers that are not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            beside = DISCRIMINATOR_PREFIX if "discriminator" in metadata else None
            tensors = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
                if beside is None or not name.startswith(beside)
            }
        kwargs = json.loads(metadata.get("kwargs", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}); get it again"
        ) from error
    check_finite(str(path), tensors)
    return WeightsContent(TensorBag(tensors, source=str(path)), kwargs, metadata)
