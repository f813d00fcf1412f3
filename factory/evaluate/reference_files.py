"""Reference masks from files: a folder of PNG, a tar, or a folder of tars, matched by key.

If any name ends in `.mask.png`, only such files are masks: `KEY.png` beside them is the image.
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
class _FileRange:
    """The byte range of a mask in a file."""

    file: Path
    offset: int
    size_bytes: int

    def read(self) -> bytes:
        with self.file.open("rb") as file:
            return os.pread(file.fileno(), self.size_bytes, self.offset)


class FileReference:
    """Masks read from indexed byte ranges of files, by key."""

    needs_images = False

    def __init__(
        self, name: str, classes: tuple[str, ...], file_ranges: dict[str, _FileRange]
    ) -> None:
        """Use the masks at `file_ranges`, by key."""
        self.name, self.classes = name, classes
        self._file_ranges = file_ranges

    def masks(self, samples: Sequence[ScoredSample]) -> list[UInt8[np.ndarray, "_h _w"] | None]:
        """The mask of each sample's key; None if there is no file for it.

        Raises:
            JobError: If one cannot be read, or has another size than the dataset's mask.
        """
        return [self._mask(sample) for sample in samples]

    def _mask(self, sample: ScoredSample) -> UInt8[np.ndarray, "_h _w"] | None:
        file_range = self._file_ranges.get(sample.key)
        if file_range is None:
            return None
        try:
            found = decode_mask(file_range.read(), _MODES)
        except (OSError, ValueError) as error:
            raise JobError(
                f"--reference: {file_range.file}: mask of {sample.key}: {error}"
            ) from error
        if found.shape != sample.mask.shape:
            raise JobError(
                f"--reference: {file_range.file}: mask of {sample.key} is {_size(found)}, the dataset's "
                f"{_size(sample.mask)}; resize the reference, by nearest neighbour"
            )
        return found


def open_files(path: Path) -> FileReference:
    """Index the masks in the tar or folder `path`; class names come from a `labels.json`, if any.

    Raises:
        JobError: If it contains no masks, or a tar is damaged.
    """
    if path.is_file():
        found = _in_tars([path])
    else:
        tars = sorted(path.rglob("*.tar"))
        found = _in_tars(tars) if tars else _in_folder(path)
    proper = {name: file_range for name, file_range in found if name.endswith(".mask.png")}
    named = proper or {name: file_range for name, file_range in found if name.endswith(".png")}
    if not named:
        raise JobError(
            f"--reference: {path} holds no masks; it takes KEY.mask.png or KEY.png, as files of a "
            "folder or in tars"
        )
    file_ranges = {
        Path(name).name.partition(".")[0]: file_range for name, file_range in named.items()
    }
    if len(file_ranges) < len(named):
        raise JobError(f"--reference: {path} holds more than one mask for a key; give one folder")
    return FileReference(str(path), _class_names(path), file_ranges)


def _in_folder(folder: Path) -> Iterable[tuple[str, _FileRange]]:
    return [
        (file.name, _FileRange(file, 0, file.stat().st_size))
        for file in sorted(folder.glob("*.png"))
    ]


def _in_tars(tars: Sequence[Path]) -> Iterable[tuple[str, _FileRange]]:
    found = []
    for path in tars:
        try:
            with tarfile.open(path, "r:") as tar:
                found += [
                    (m.name, _FileRange(path, m.offset_data, m.size)) for m in tar if m.isfile()
                ]
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
