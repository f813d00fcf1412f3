"""The file of a trained network: TorchScript and ONNX, with its classes, mean, deviation and size."""

import io
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from factory.errors import PluginError
from factory.evaluate.reference_network import FATAL
from factory.store.single_file import replace_file

_FACTS = "maskfactory.json"


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What a network's file says of itself."""

    classes: tuple[str, ...]
    """Names of the classes, by id."""
    mean: tuple[float, float, float]
    """Subtracted from RGB of 0 to 1."""
    std: tuple[float, float, float]
    """RGB is then divided by it."""
    size_px: int
    """Side of the images it was trained on."""
    dataset_id: str
    """The dataset it was trained on."""


def write_network(network: nn.Module, facts: NetworkFacts, folder: Path) -> None:
    """Write `model.pt` (TorchScript) and `model.onnx`; inputs are normalised images of any size.

    Raises:
        JobError: If the folder cannot be written.
    """
    text = json.dumps(asdict(facts))
    example = torch.zeros(1, 3, facts.size_px, facts.size_px)
    network = network.eval().cpu()
    with warnings.catch_warnings(), torch.no_grad():
        # Both ways are called old in favour of formats that only PyTorch reads.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python")
        warnings.filterwarnings("ignore", message="Constant folding")
        script = torch.jit.trace(network, example)  # type: ignore[no-untyped-call]
        sink = io.BytesIO()
        torch.jit.save(script, sink, _extra_files={_FACTS: text})
        replace_file(folder / "model.pt", sink.getvalue())
        sizes = {0: "n", 2: "h", 3: "w"}
        path = folder / ".model.onnx"
        torch.onnx.export(
            network,
            (example,),
            path,
            dynamo=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": sizes, "logits": sizes},
        )
    replace_file(folder / "model.onnx", _with_facts(path.read_bytes(), text))
    path.unlink()


def _with_facts(data: bytes, text: str) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(model, {_FACTS: text})
    encoded: bytes = model.SerializeToString()
    return encoded


def read_facts_of(path: Path) -> NetworkFacts | None:
    """What a network's file says of itself; None for a network of another origin.

    Raises:
        PluginError: If it cannot be read.
    """
    text = _onnx_text(path) if path.suffix == ".onnx" else _script_text(path)
    if not text:
        return None
    try:
        document: dict[str, Any] = json.loads(text)
        return NetworkFacts(
            classes=_names(document["classes"]),
            mean=_three(document["mean"]),
            std=_three(document["std"]),
            size_px=int(document["size_px"]),
            dataset_id=str(document["dataset_id"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise PluginError(
            where=str(path), found="its facts are damaged", remedy="train or export it again"
        ) from error


def _names(values: Any) -> tuple[str, ...]:  # noqa: ANN401 - any JSON
    if not isinstance(values, list) or not all(isinstance(name, str) for name in values):
        raise TypeError("classes")
    return tuple(values)


def _three(values: Any) -> tuple[float, float, float]:  # noqa: ANN401 - any JSON
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _script_text(path: Path) -> str | bytes:
    found = {_FACTS: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.load(path, map_location="cpu", _extra_files=found)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise PluginError(
            where=str(path), found="not TorchScript", allowed="model.pt or model.onnx"
        ) from error
    text: str | bytes = found[_FACTS]
    return text


def _onnx_text(path: Path) -> str:
    try:
        import onnxruntime
    except ImportError as error:
        raise PluginError(
            where=str(path),
            found="ONNX Runtime is not installed",
            remedy="pip install 'maskfactory[onnx]'",
        ) from error
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL  # the error says it
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise PluginError(where=str(path), found="cannot be loaded as ONNX") from error
    facts: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return facts.get(_FACTS, "")
