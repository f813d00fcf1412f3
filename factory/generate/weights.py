"""Find a generator's weights, check their SHA-256, and read them without running any of their bytes."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from factory.errors import WeightsError
from factory.generate import SHIPPED
from factory.identity import digest_of_file
from factory.spec import GeneratorSpec


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """A weights file on this machine, with the digest of what is in it."""

    path: Path | None
    sha256: str


class TensorBag:
    """Tensors by name that are taken out one by one, so that nothing is missing and nothing left.

    A network built from a file whose tensors do not all fit would give wrong images without a word.
    """

    def __init__(self, tensors: dict[str, Tensor], *, source: str) -> None:
        """Hold `tensors`; `source` names them in errors."""
        self._tensors = dict(tensors)
        self._source = source

    def __contains__(self, name: str) -> bool:
        """Whether `name` is still there."""
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

    def finish(self) -> None:
        """Say that everything should have been taken.

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
    """Tensors by name, and what the file says of itself."""

    tensors: TensorBag
    kwargs: dict[str, Any]
    """Constructor settings of the network (JSON under `kwargs` in the file's metadata)."""
    metadata: dict[str, str]
    """All of the file's metadata."""


def find_weights(spec: GeneratorSpec) -> LocalWeights:
    """Locate the weights of `spec` on this machine and check their digest.

    Raises:
        WeightsError: If they are not here, or their SHA-256 is not the one the job demands.
    """
    if not spec.weights:
        return LocalWeights(None, "")
    path = _locate(spec)
    if not path.is_file():
        raise WeightsError(
            f"dataset.generator.weights: no file {str(path)!r}; give the path of a weights file, or"
            f" one of {', '.join('shipped:' + name for name in SHIPPED)}"
        )
    found = digest_of_file(path)
    if spec.sha256 and found != spec.sha256:
        raise WeightsError(
            f"dataset.generator.sha256: {path} has {found}, the job demands {spec.sha256}; get the "
            "right file, or correct the job if you trust this one"
        )
    return LocalWeights(path, found)


def _locate(spec: GeneratorSpec) -> Path:
    scheme, separator, name = spec.weights.partition(":")
    if scheme == "shipped" and separator:
        if name not in SHIPPED:
            raise WeightsError(
                f"dataset.generator.weights: nothing shipped as {name!r}; shipped: "
                + ", ".join(SHIPPED)
            )
        return Path(str(files("factory.generate") / SHIPPED[name]))
    if "://" in spec.weights:
        raise WeightsError(
            f"dataset.generator.weights: {spec.weights} is not on this machine; download it and "
            "give its path (this version does not download)"
        )
    return Path(spec.weights).expanduser()


def read_weights(path: Path) -> WeightsContent:
    """Read a safetensors file: data only, nothing in it is executed.

    Raises:
        WeightsError: If it is not a whole safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kwargs = json.loads(metadata.get("kwargs", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}); get it again"
        ) from error
    return WeightsContent(TensorBag(tensors, source=str(path)), kwargs, metadata)
