"""Read a checkpoint file of any supported format without executing anything in it."""

import json
import mmap
import stat
from pathlib import Path
from typing import Any

from factory.checkpoint.base import Checkpoint
from factory.checkpoint.families.choose import from_pickle, from_state_dict, from_tensors
from factory.checkpoint.families.state_dict import unwrap
from factory.checkpoint.files.detect import FileKind, find_kind
from factory.checkpoint.files.safetensors_file import read_safetensors
from factory.checkpoint.files.torch_stream import load_storage, read_torch_stream
from factory.checkpoint.files.torch_zip import read_torch_zip
from factory.checkpoint.pickles.machine import Machine, Rules
from factory.checkpoint.pickles.source import (
    DISTRUST,
    MIB,
    TENSOR_SLACK_BYTES,
    Budget,
    Stream,
    refuse,
)
from factory.errors import WeightsError

_WEIGHT_NAMES = ("pytorch_model.bin", "model.safetensors", "pytorch_model.safetensors")
_CONFIG_NAME = "config.json"
_MOST_CONFIG_BYTES = 4 * MIB
_UNFIT = (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError,
          ZeroDivisionError)  # fmt: skip


def read_checkpoint(path: Path, *, config: Path | None = None, strict: bool = False) -> Checkpoint:
    """Read a generator's checkpoint. Nothing in it is executed or imported.

    Args:
        path: A file of any supported format (detected by content, not by name), or the folder of a
            Hugging Face BigGAN (config.json beside pytorch_model.bin).
        config: JSON file with constructor settings, for formats that hold tensors alone. Without it,
            a config.json beside the file is used for a Hugging Face BigGAN.
        strict: Refuse pickles that carry objects of other libraries, even beside the generator.

    Raises:
        WeightsError: If the file is not a whole checkpoint of a known family, asks for anything but
            data, or would cost more time or memory than a checkpoint of its size may.
    """
    path = Path(path)
    if path.is_dir():
        path, config = _find_in_folder(path, config)
    stream = Stream.of_bytes(_map_file(path), path)
    settings = _read_config(path, config)
    try:
        return _read(stream, path, settings, strict=strict)
    except RecursionError as error:
        raise WeightsError(f"{path}: its parts are nested too deep; {DISTRUST}") from error
    except _UNFIT as error:
        raise WeightsError(
            f"{path}: its parts do not fit together ({type(error).__name__}); a checkpoint holds one "
            "whole network; get the file again, or ask for support of this layout"
        ) from error


def _read(stream: Stream, path: Path, settings: dict[str, Any], *, strict: bool) -> Checkpoint:
    budget = Budget(str(path), tensor_bytes=len(stream.view) + TENSOR_SLACK_BYTES)
    kind = find_kind(stream)
    if kind is FileKind.SAFETENSORS:
        tensors, metadata = read_safetensors(stream, path)
        if not settings and not metadata.get("kwargs"):
            settings = _config_beside(path, tensors)
        return from_tensors(str(path), tensors, metadata, settings)
    if kind is FileKind.PICKLE:
        rules = Rules(strict=strict, load_storage=load_storage)
        found, end = Machine(stream, budget, rules).run()
        if end != len(stream.view):
            stream.refuse("bytes behind the end of the pickle", end, "it ends there", DISTRUST)
        return from_pickle(found, budget)
    read = read_torch_zip if kind is FileKind.TORCH_ZIP else read_torch_stream
    layout = "torch zip" if kind is FileKind.TORCH_ZIP else "legacy torch file"
    state = unwrap(read(stream, budget, Rules(strict=strict)), budget)
    return from_state_dict(state, layout, settings or _config_beside(path, state.tensors))


def _map_file(path: Path) -> memoryview:
    """Memory-map the file, so that a large one costs no memory."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            refuse(str(path), "not an ordinary file", "a file or folder of weights is allowed",
                   "give the file's path")  # fmt: skip
        if facts.st_size == 0:
            return memoryview(b"")
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: cannot be read ({error}); a readable file is needed; check the path"
        ) from error


def _find_in_folder(folder: Path, config: Path | None) -> tuple[Path, Path | None]:
    for name in _WEIGHT_NAMES:
        if (folder / name).is_file():
            beside = folder / _CONFIG_NAME
            return folder / name, config or (beside if beside.is_file() else None)
    return refuse(str(folder), "a folder without weights",
                  "expected: " + ", ".join(_WEIGHT_NAMES), "give a file's path")  # fmt: skip


def _config_beside(path: Path, tensors: dict[str, Any]) -> dict[str, Any]:
    beside = path.with_name(_CONFIG_NAME)
    is_hf = "generator.gen_z.weight_orig" in tensors or "gen_z.weight_orig" in tensors
    return _read_config(path, beside) if is_hf and beside.is_file() else {}


def _read_config(path: Path, config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        if config.stat().st_size > _MOST_CONFIG_BYTES:
            refuse(str(config), "a config of more than 4 MiB", "settings are small", "give another")
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{config}: cannot be read as JSON ({error}); the settings of {path} are needed; "
            "give the config.json that belongs to it"
        ) from error
    for wrapper in ("kwargs", "init_kwargs", "config"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict):
        refuse(str(config), f"a JSON {type(found).__name__}", "settings are a JSON object",
               "give the config.json that belongs to the weights")  # fmt: skip
    return found
