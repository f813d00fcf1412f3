"""Open a trained network's file, which may be anyone's: what it says of itself, and its answers."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import IGNORE
from factory.downstream.package import NetworkFacts, read_facts_of
from factory.downstream.script_check import check_script
from factory.errors import JobError, PluginError
from factory.evaluate.reference_network import Network, load_network

_SCRIPTS = (".pt", ".pth", ".ts")
_NAMES = ("model.pt", "model.onnx")
_MOST_SIDE_PX = 4096


@dataclass(frozen=True, slots=True)
class Model:
    """A network that was trained with `factory train`, or whose file says the same."""

    path: Path
    """Its file."""
    facts: NetworkFacts
    """Its classes, and what its input is."""
    network: Network
    """Normalised images to logits."""

    def probabilities(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Probability of each class at each pixel; images are RGB, 0 to 255.

        Raises:
            PluginError: If the network fails, or answers anything but one logit per class.
        """
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.facts.mean, self.facts.std))
        with torch.inference_mode():
            logits = self.network((images / 255 - mean) / std)
        shape = tuple(logits.shape)
        if len(shape) != 4 or shape[:2] != (len(images), len(self.facts.classes)):
            raise PluginError(
                where=str(self.path),
                found=f"answers {list(shape)} for {len(images)} images",
                allowed=f"logits of its {len(self.facts.classes)} classes: [n, k, h, w]",
            )
        if not logits.is_floating_point() or not bool(logits.isfinite().all()):
            raise PluginError(where=str(self.path), found="answers no finite numbers")
        return logits.float().softmax(dim=1)


def open_model(path: Path) -> Model:
    """Open `model.pt` (TorchScript), `model.onnx`, or the folder of a training with them.

    Nothing in the file runs before its code was looked through, see `script_check.py`; ONNX has no code.

    Raises:
        JobError: If there is no such file.
        PluginError: If it cannot be used, or does not say what its classes are.
    """
    path = _find(path)
    if path.suffix in _SCRIPTS:
        check_script(path)
    facts = read_facts_of(path)
    if facts is None:
        raise PluginError(
            where=str(path),
            found="does not say what its classes are",
            allowed="what `factory train` wrote",
            remedy="write it with factory.downstream.package.write_network",
        )
    _check_facts(path, facts)
    return Model(path, facts, load_network(path, "MODEL"))


def _find(path: Path) -> Path:
    if path.is_dir():
        found = next((path / name for name in _NAMES if (path / name).is_file()), None)
        if found is None:
            raise JobError(
                where=str(path),
                found="a folder without a network",
                allowed="one with model.pt or model.onnx",
                remedy="let `factory train` finish there",
            )
        return found
    if not path.is_file():
        raise JobError(where=str(path), found="no such file", allowed="model.pt or model.onnx")
    if path.suffix not in (*_SCRIPTS, ".onnx"):
        raise PluginError(
            where=str(path),
            found=f"found the ending {path.suffix!r}",
            allowed="model.pt or model.onnx",
        )
    return path


def _check_facts(path: Path, facts: NetworkFacts) -> None:
    numbers = (*facts.mean, *facts.std)
    is_sound = (
        0 < len(facts.classes) <= IGNORE
        and len(set(facts.classes)) == len(facts.classes)
        and all(abs(number) < 1e6 for number in numbers)
        and all(number > 0 for number in facts.std)
        and 1 <= facts.size_px <= _MOST_SIDE_PX
    )
    if not is_sound:
        raise PluginError(
            where=str(path), found="its facts are damaged", remedy="train or export it again"
        )
