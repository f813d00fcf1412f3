"""Reference masks from files: a folder of PNG, a tar, or a folder of tars, matched by key.

If any name ends in `.mask.png`, only such files are masks: `KEY.png` beside them is the image.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from factory.errors import JobError
from factory.evaluate.file_ranges import FileRange, in_tars, is_hidden, whole_file
from factory.evaluate.reference import ScoredSample
from factory.manifest.labels import MOST_LABELS_BYTES, read_labels
from factory.manifest.paths import LABELS_PATH
from factory.pack.image import decode_mask

_MODES = ("L", "P")
_ENDINGS = (".png",)
_OPTION = "--reference"


class FileReference:
    """Masks read from indexed byte ranges of files, by key."""

    needs_images = False

    def __init__(
        self, name: str, classes: tuple[str, ...], file_ranges: dict[str, FileRange]
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
        where = f"--reference: {file_range.file}: mask of {sample.key}"
        try:
            found = decode_mask(file_range.read(), _MODES)
        except (OSError, ValueError) as error:
            raise JobError(f"{where}: {error}") from error
        if found.shape != sample.mask.shape:
            raise JobError(
                f"{where} is {_size(found.shape)}, the dataset's {_size(sample.mask.shape)}; resize the "
                "reference, by nearest neighbour"
            )
        return found


def open_files(path: Path) -> FileReference:
    """Index the masks in the tar or folder `path`; class names come from a `labels.json`, if any.

    Raises:
        JobError: If it contains no masks, or a tar is damaged.
    """
    if path.is_file():
        found = in_tars([path], _ENDINGS, _OPTION)
    else:
        below = (tar for tar in path.rglob("*.tar") if tar.is_file())
        tars = sorted(tar for tar in below if not is_hidden(tar.relative_to(path).as_posix()))
        found = in_tars(tars, _ENDINGS, _OPTION) if tars else _in_folder(path)
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


def _in_folder(folder: Path) -> list[tuple[str, FileRange]]:
    return [
        (file.name, whole_file(file))
        for file in sorted(folder.glob("*.png"))
        if file.is_file() and not is_hidden(file.name)
    ]


def _class_names(path: Path) -> tuple[str, ...]:
    file = path / LABELS_PATH
    if not file.is_file():
        return ()
    with file.open("rb") as opened:  # a sparse file of 40 GB takes no space on a disk
        data = opened.read(MOST_LABELS_BYTES + 1)
    labels = read_labels(data, source=str(file)).labels
    return tuple(label.name for label in sorted(labels, key=lambda label: label.id))


def _size(shape: tuple[int, ...]) -> str:
    height, width = shape
    return f"{height} x {width} px"
