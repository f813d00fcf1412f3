"""Reference masks kept as files: a folder of PNG, a tar, or a folder of tars, matched by key.

Where any name ends in `.mask.png`, only these are masks: `KEY.png` beside them is the image.
"""

import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from factory.errors import JobError
from factory.evaluate.reference import ScoredSample
from factory.manifest.labels import read_labels
from factory.manifest.paths import LABELS_PATH
from factory.pack.image import decode_mask

_MODES = ("L", "P")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the bytes of a mask lie."""

    file: Path
    offset: int
    size_bytes: int

    def read(self) -> bytes:
        with self.file.open("rb") as file:
            return os.pread(file.fileno(), self.size_bytes, self.offset)


class FileReference:
    """Masks at known places in files; `places` are by key."""

    needs_images = False

    def __init__(self, name: str, classes: tuple[str, ...], places: dict[str, _Place]) -> None:
        """Hold what was found."""
        self.name, self.classes = name, classes
        self._places = places

    def masks(self, samples: Sequence[ScoredSample]) -> list[UInt8[np.ndarray, "_h _w"] | None]:
        """The mask of each sample's key; None if no file has it.

        Raises:
            JobError: If one cannot be read, or has another size than the dataset's mask.
        """
        return [self._mask(sample) for sample in samples]

    def _mask(self, sample: ScoredSample) -> UInt8[np.ndarray, "_h _w"] | None:
        place = self._places.get(sample.key)
        if place is None:
            return None
        try:
            found = decode_mask(place.read(), _MODES)
        except (OSError, ValueError) as error:
            raise JobError(f"--reference: {place.file}: mask of {sample.key}: {error}") from error
        if found.shape != sample.mask.shape:
            raise JobError(
                f"--reference: {place.file}: mask of {sample.key} is {_size(found)}, the dataset's "
                f"{_size(sample.mask)}; resize the reference, by nearest neighbour"
            )
        return found


def open_files(path: Path) -> FileReference:
    """The masks in the tar or folder `path`; class names from a `labels.json` like a dataset's.

    Raises:
        JobError: If it holds no masks, or a tar is not whole.
    """
    if path.is_file():
        found = _in_tars([path])
    else:
        tars = sorted(path.rglob("*.tar"))
        found = _in_tars(tars) if tars else _in_folder(path)
    proper = {name: place for name, place in found if name.endswith(".mask.png")}
    named = proper or {name: place for name, place in found if name.endswith(".png")}
    if not named:
        raise JobError(
            f"--reference: {path} holds no masks; it takes KEY.mask.png or KEY.png, as files of a "
            "folder or in tars"
        )
    places = {Path(name).name.partition(".")[0]: place for name, place in named.items()}
    if len(places) < len(named):
        raise JobError(f"--reference: {path} holds more than one mask for a key; give one folder")
    return FileReference(str(path), _class_names(path), places)


def _in_folder(folder: Path) -> Iterable[tuple[str, _Place]]:
    return [
        (file.name, _Place(file, 0, file.stat().st_size)) for file in sorted(folder.glob("*.png"))
    ]


def _in_tars(tars: Sequence[Path]) -> Iterable[tuple[str, _Place]]:
    found = []
    for path in tars:
        try:
            with tarfile.open(path, "r:") as tar:
                found += [(m.name, _Place(path, m.offset_data, m.size)) for m in tar if m.isfile()]
        except (tarfile.TarError, OSError) as error:
            raise JobError(
                f"--reference: {path}: not a whole tar ({error}); it must not be compressed"
            ) from error
    return found


def _class_names(path: Path) -> tuple[str, ...]:
    file = path / LABELS_PATH
    if not file.is_file():
        return ()
    labels = read_labels(file.read_bytes(), source=str(file)).labels
    return tuple(label.name for label in sorted(labels, key=lambda label: label.id))


def _size(mask: UInt8[np.ndarray, "h w"]) -> str:
    height, width = mask.shape
    return f"{height} x {width} px"
