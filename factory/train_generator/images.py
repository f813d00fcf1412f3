"""Load labelled training pictures from a folder, a tar or WebDataset shards into one array."""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from factory.errors import JobError

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_NOT_PICTURES = (".mask", ".confidence", ".alpha")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_WHERE = "images.uri"


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """All training pictures, decoded."""

    pixels: UInt8[Tensor, "n 3 h w"]
    """RGB."""
    labels: Int64[Tensor, " n"]
    """Class of each; 0 for all if there are no classes."""
    class_names: tuple[str, ...]
    """Class names by id; empty if the pictures have no classes."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the classes; without classes, all pictures form one group."""
        return self.class_names or ("all",)

    def members(self, class_id: int) -> Int64[Tensor, " m"]:
        """Positions of the pictures of one class."""
        return torch.nonzero(self.labels == class_id)[:, 0]

    def at(self, resolution: int) -> "LabelledImages":
        """Downsample the pictures by averaging."""
        if self.pixels.shape[2] == resolution:
            return self
        factor = self.pixels.shape[2] // resolution
        small = [
            functional.avg_pool2d(piece.float(), factor).round().to(torch.uint8)
            for piece in torch.split(self.pixels, 1024)
        ]
        return LabelledImages(torch.cat(small), self.labels, self.class_names)


def load_images(uri: str, resolution: int) -> LabelledImages:
    """Read every picture below `uri`: crop the largest central square, average down to `resolution`.

    Classes are numbered in alphabetical order, pictures by class and then by name.

    Raises:
        JobError: If there are no pictures, one cannot be read, is too small, or has no class where
            others have one, or a class has fewer than two.
    """
    classes: dict[str, str] = {}
    pictures: dict[str, UInt8[np.ndarray, "3 h w"]] = {}
    for name, data in _members(uri):
        path = Path(name)
        if path.suffix == ".cls":
            classes[_key(name)] = data.decode("utf-8", "replace").strip()
        elif path.suffix.lower() in _ENDINGS and not path.stem.endswith(_NOT_PICTURES):
            pictures[name] = _decode(name, data, resolution)
            classes.setdefault(_key(name), path.parent.name)
    if not pictures:
        raise JobError(f"{_WHERE}: no pictures in {uri}; allowed: {', '.join(_ENDINGS)}")
    found = {name: classes[_key(name)] for name in pictures}
    return _gathered(found, pictures, uri)


def _key(name: str) -> str:
    """The common prefix of one sample's files, as in WebDataset."""
    path = Path(name)
    return f"{path.parent}/{path.name.partition('.')[0]}"


def _gathered(found: dict[str, str], pictures: dict[str, np.ndarray], uri: str) -> LabelledImages:
    names = sorted(set(found.values()))
    if "" in names and len(names) > 1:
        stray = next(name for name in sorted(found) if not found[name])
        raise JobError(
            f"{_WHERE}: {stray} in {uri} has no class, but others have; put it into its class's "
            "folder, or take it out"
        )
    for class_name in names:
        count = sum(value == class_name for value in found.values())
        if count < 2:
            raise JobError(
                f"{_WHERE}: class {class_name!r} in {uri} has {count} picture; at least 2 are needed"
            )
    order = sorted(found, key=lambda name: (found[name], name))
    pixels = torch.from_numpy(np.stack([pictures[name] for name in order]))
    labels = torch.tensor([names.index(found[name]) for name in order])
    class_names = () if names == [""] else tuple(names)
    return LabelledImages(pixels, labels, class_names)


def _members(uri: str) -> Iterator[tuple[str, bytes]]:
    """Iterate over the files below a folder, or in one or several tars."""
    root = Path(uri).expanduser()
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            if path.is_file():
                yield path.relative_to(root).as_posix(), path.read_bytes()
        return
    shards = _expanded(uri)
    for shard in shards:
        try:
            with tarfile.open(shard) as tar:
                for member in tar:
                    if file := tar.extractfile(member) if member.isfile() else None:
                        prefix = f"{shard.stem}:" if len(shards) > 1 else ""
                        parent, _, base = member.name.rpartition("/")
                        yield f"{parent}/{prefix}{base}".lstrip("/"), file.read()
        except FileNotFoundError as error:
            raise JobError(f"{_WHERE}: nothing at {shard}; give a folder or tar files") from error
        except (tarfile.TarError, OSError, EOFError) as error:
            raise JobError(
                f"{_WHERE}: {shard} is not a whole tar ({error}); get it again"
            ) from error


def _expanded(uri: str) -> list[Path]:
    match = _BRACES.search(uri)
    if match is None:
        return [Path(uri).expanduser()]
    first, last = match.groups()
    head, tail = uri[: match.start()], uri[match.end() :]
    numbers = range(int(first), int(last) + 1)
    return [path for n in numbers for path in _expanded(f"{head}{n:0{len(first)}d}{tail}")]


def _decode(name: str, data: bytes, resolution: int) -> UInt8[np.ndarray, "3 h w"]:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise JobError(
            f"{_WHERE}: {name} is not a whole picture; replace it or take it out"
        ) from error
    side = min(image.size)
    if side < resolution:
        raise JobError(
            f"{_WHERE}: {name} is {image.width} x {image.height} px; at least {resolution} are needed "
            "on each side; lower network.resolution or take it out"
        )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    small = np.asarray(image.resize((resolution, resolution), Image.Resampling.BOX, box=box))
    # Transposed one by one: doing it for all at once would need a third copy of the data in memory.
    return np.ascontiguousarray(small.transpose(2, 0, 1))
