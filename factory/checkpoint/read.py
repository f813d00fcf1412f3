"""Read a checkpoint file of any supported format without executing anything in it."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from factory.checkpoint.base import Checkpoint
from factory.checkpoint.channels import channels_of, check_channels
from factory.checkpoint.families.beside import build_checkpoint
from factory.checkpoint.files.content import Content, open_content
from factory.checkpoint.finite import check_finite
from factory.checkpoint.pickles.source import DISTRUST, MIB, refuse
from factory.errors import WeightsError

_WEIGHT_NAMES = ("pytorch_model.bin", "model.safetensors", "pytorch_model.safetensors")
_CONFIG_NAME = "config.json"
_HUGGING_FACE_MARK = "generator.gen_z.weight_orig"
_MOST_CONFIG_BYTES = 4 * MIB
_UNFIT = (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError,
          ZeroDivisionError)  # fmt: skip


def read_checkpoint(
    path: Path,
    *,
    config: Path | None = None,
    settings: dict[str, Any] | None = None,
    strict: bool = False,
    with_discriminator: bool = False,
) -> Checkpoint:
    """Read a generator's checkpoint. Nothing in it is executed or imported.

    Args:
        path: A file of any supported format (detected by content, not by name), or the folder of a
            Hugging Face BigGAN (config.json beside pytorch_model.bin).
        config: JSON file with constructor settings, for formats that hold tensors alone. Without it,
            a config.json beside the file is used for a Hugging Face BigGAN.
        settings: What the file leaves unsaid, by the names of `factory/spec/generators.py`; it counts
            before `config`.
        strict: Refuse pickles that carry objects of other libraries, even beside the generator.
        with_discriminator: Read the discriminator too, where the file has one. One that cannot be used
            is told, and never makes the generator unusable.

    Raises:
        WeightsError: If the file is not a whole checkpoint of a known family, asks for anything but
            data, holds numbers that are not finite, makes images of 2 or other odd numbers of channels,
            or would cost more time or memory than a
            checkpoint of its size may.
        UnknownGeneratorError: If the file is whole, but of no known family or in need of settings.
    """
    folder, path = Path(path), weights_file(path)
    if folder.is_dir() and config is None and (folder / _CONFIG_NAME).is_file():
        config = folder / _CONFIG_NAME
    given = {**_read_config(path, config), **(settings or {})}
    try:
        content = open_content(path, strict=strict)
        checkpoint = _build(content, path, given, with_discriminator=with_discriminator)
    except RecursionError as error:
        raise WeightsError(f"{path}: its parts are nested too deep; {DISTRUST}") from error
    except _UNFIT as error:
        raise WeightsError(
            f"{path}: its parts do not fit together; a checkpoint holds one whole network; get the file "
            "again, or ask for support of this layout"
        ) from error
    check_channels(str(path), channels_of(checkpoint))
    check_finite(str(path), checkpoint.tensors)
    return checkpoint


def _build(
    content: Content, path: Path, given: dict[str, Any], *, with_discriminator: bool
) -> Checkpoint:
    tensors, find_config = content.tensors, partial(_config_beside, path)
    if tensors and not content.metadata.get("kwargs") and _HUGGING_FACE_MARK in tensors:
        given = {**find_config(), **given}
    return build_checkpoint(content, given, find_config, with_discriminator=with_discriminator)


def weights_file(path: Path) -> Path:
    """The file that `path` means: itself, or the weights in a model's folder.

    Raises:
        WeightsError: If it is a folder without weights.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    found = next((path / name for name in _WEIGHT_NAMES if (path / name).is_file()), None)
    if found is None:
        refuse(str(path), "a folder without weights",
               "expected: " + ", ".join(_WEIGHT_NAMES), "give a file's path")  # fmt: skip
    return found


def _config_beside(path: Path) -> dict[str, Any]:
    beside = path.with_name(_CONFIG_NAME)
    return _read_config(path, beside) if beside.is_file() else {}


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
    for wrapper in ("G_kwargs", "kwargs", "init_kwargs", "config"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict):
        refuse(str(config), f"a JSON {type(found).__name__}", "settings are a JSON object",
               "give the config.json that belongs to the weights")  # fmt: skip
    return found
