"""Load labelled training pictures into one array."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from factory.errors import JobError
from factory.log import log_event
from factory.pack.archives import Member
from factory.pack.pictures import decode_picture
from factory.train_generator.class_labels import (
    is_nvidia_labels,
    number_classes,
    nvidia_classes,
    read_class,
    read_nvidia_labels,
)
from factory.train_generator.sources import WHERE, find_files

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_NOT_PICTURES = (".mask", ".confidence", ".alpha")
_SMALLER = "lower network.resolution or "
"""What only a training of generators can do about pictures that are too small."""
LEAST_PICTURES = 10
"""For a training: every tenth is held out, and the judge needs one."""


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

    Pictures are turned as their EXIF says, and transparent parts are laid on white. The class of one
    is what its `.cls` file says, else what NVIDIA's `dataset.json` says, else its folder's name. Classes
    are numbered in alphabetical order, or in that of their numbers if all names are numbers; pictures
    by class and then by name.

    Raises:
        JobError: If there are no pictures, one cannot be read, is too small, or has no class where
            others have one, or a class has fewer than two.
    """
    classes: dict[str, str] = {}
    pictures: dict[str, UInt8[np.ndarray, "3 h w"]] = {}
    notes: Counter[str] = Counter()
    nvidia: dict[str, str] | None = None
    for file in find_files(uri):
        path = Path(file.name)
        if path.suffix == ".cls":
            classes[_key(file.name)] = read_class(file)
        elif is_nvidia_labels(file.name):
            nvidia = (nvidia or {}) | read_nvidia_labels(file)
        elif _is_picture(path):
            pictures[file.name] = _decode(file, resolution, notes)
    if not pictures:
        raise _no_pictures(uri)
    _tell(notes)
    labels = {} if nvidia is None else nvidia_classes(nvidia, pictures)
    found = {
        name: classes.get(_key(name), labels.get(name, Path(name).parent.name)) for name in pictures
    }
    return _gathered(found, pictures, uri)


def read_pictures(
    uri: str, resolution: int, *, where: str
) -> Iterator[tuple[str, UInt8[np.ndarray, "3 h w"]]]:
    """Read every picture below `uri` as `load_images` does, one at a time and without classes.

    `where` is the setting that names them.

    Raises:
        JobError: If there are no pictures, or one cannot be read or is too small.
    """
    notes: Counter[str] = Counter()
    for file in _found_pictures(uri, where):
        try:
            pixels = _decode(file, resolution, notes)
        except JobError as error:
            raise of_setting(error, where) from error
        yield file.name, pixels
    _tell(notes)


def load_unlabelled(uri: str, resolution: int, *, where: str) -> LabelledImages:
    """Read every picture below `uri` as `read_pictures` does, in the order of their names.

    Raises:
        JobError: If there are fewer than two, or one cannot be read or is too small.
    """
    pictures = dict(read_pictures(uri, resolution, where=where))
    if len(pictures) < 2:
        raise JobError(f"{where}: one picture in {uri}; at least 2 are needed")
    pixels = torch.from_numpy(np.stack([pictures[name] for name in sorted(pictures)]))
    return LabelledImages(pixels, torch.zeros(len(pixels), dtype=torch.int64), ())


def check_pictures(uri: str, *, where: str) -> None:
    """Require that there is a picture below `uri`; none is decoded. `where` is the setting.

    Raises:
        JobError: If there is none.
    """
    next(_found_pictures(uri, where))


def _found_pictures(uri: str, where: str) -> Iterator[Member]:
    has_any = False
    try:
        for file in find_files(uri):
            if _is_picture(Path(file.name)):
                has_any = True
                yield file
        if not has_any:
            raise _no_pictures(uri)
    except JobError as error:
        raise of_setting(error, where) from error


def of_setting(error: JobError, where: str) -> JobError:
    """`error` about pictures as one of the setting `where`, not of a training of generators."""
    text = str(error).removeprefix(f"{WHERE}: ").replace(_SMALLER, "")
    return JobError(f"{where}: {text}")


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and not path.stem.endswith(_NOT_PICTURES)


def _no_pictures(uri: str) -> JobError:
    return JobError(f"{WHERE}: no pictures in {uri}; allowed: {', '.join(_ENDINGS)}")


def _tell(notes: Counter[str]) -> None:
    for note, count in sorted(notes.items()):
        log_event("pictures_changed", level=logging.WARNING, pictures=count, how=note)


def _key(name: str) -> str:
    """The common prefix of one sample's files, as in WebDataset."""
    path = Path(name)
    return f"{path.parent}/{path.name.partition('.')[0]}"


def _gathered(found: dict[str, str], pictures: dict[str, np.ndarray], uri: str) -> LabelledImages:
    names = number_classes(found.values())
    if "" in names and len(names) > 1:
        stray = next(name for name in sorted(found) if not found[name])
        raise JobError(
            f"{WHERE}: {stray} in {uri} has no class, but others have; put it into its class's "
            "folder, or take it out"
        )
    sizes = Counter(found.values())
    for class_name in names:
        if sizes[class_name] < 2:
            raise JobError(
                f"{WHERE}: class {class_name!r} in {uri} has 1 picture; at least 2 are needed"
            )
    ids = {name: class_id for class_id, name in enumerate(names)}
    order = sorted(found, key=lambda name: (ids[found[name]], name))
    pixels = torch.from_numpy(np.stack([pictures[name] for name in order]))
    labels = torch.tensor([ids[found[name]] for name in order])
    class_names = () if names == [""] else tuple(names)
    return LabelledImages(pixels, labels, class_names)


def _decode(file: Member, resolution: int, notes: Counter[str]) -> UInt8[np.ndarray, "3 h w"]:
    """The picture in a file; what was done to it is counted in `notes`."""
    if file.oddity:
        raise JobError(
            f"{WHERE}: {file.name} is {file.oddity}; put an ordinary file there, or take it out"
        )
    try:
        image, changes = decode_picture(file.read())
    except ValueError as error:
        raise JobError(f"{WHERE}: {file.name} {error}; replace it or take it out") from error
    notes.update(changes)
    side = min(image.size)
    if side < resolution:
        raise JobError(
            f"{WHERE}: {file.name} is {image.width} x {image.height} px; at least {resolution} are "
            f"needed on each side; {_SMALLER}take it out"
        )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    small = np.asarray(image.resize((resolution, resolution), Image.Resampling.BOX, box=box))
    # Turned one by one: turning all of them at once would take a third copy.
    return np.ascontiguousarray(small.transpose(2, 0, 1))
