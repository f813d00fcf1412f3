"""The masks of a folder of pictures, as the page reads and writes them."""

import hashlib
import threading
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from factory.data import IGNORE
from factory.errors import JobError
from factory.fit.annotations.classes import PaintedClasses
from factory.fit.annotations.folder import MOST_BYTES, check_mask, find_masks
from factory.fit.annotations.pictures_file import PicturesFile
from factory.fit.annotations.png import read_png
from factory.pack.image import encode_mask
from factory.store.single_file import replace_file, writing_into

MASKS_FOLDER = "masks"
"""Name of the folder that the page writes masks into, beside the pictures."""


class MaskFiles:
    """The masks of one folder; several threads may use it.

    A picture's own file is `masks/NAME.png`. What another file holds is shown and learnt from, and
    never changed.
    """

    def __init__(self, folder: Path, pictures: PicturesFile, classes: PaintedClasses) -> None:
        """Read what is painted so far.

        Raises:
            JobError: If a file cannot be used, a line for each.
        """
        self.folder, self._pictures, self._classes = folder, pictures, classes
        self._lock = threading.Lock()
        self._masks: dict[str, UInt8[np.ndarray, "h w"]] = {}
        self._others: dict[str, str] = {}
        for name, found in find_masks(folder, pictures, classes).items():
            self._masks[name] = found.mask
            if found.file != self._file(name):
                self._others[name] = str(found.file.relative_to(folder))
        self._seen = {
            picture.name: _digest(self._bytes(picture.name)) for picture in pictures.pictures
        }

    def painted(self) -> dict[str, UInt8[np.ndarray, "h w"]]:
        """The masks of all pictures that have any, by name."""
        with self._lock:
            return dict(self._masks)

    def read(self, name: str) -> tuple[UInt8[np.ndarray, "h w"], str]:
        """Class ids of a picture, 255 where nothing is painted, and the digest of its file.

        Raises:
            JobError: If something else has written a file that cannot be used.
        """
        side = self._pictures.resolution_px
        with self._lock:
            data = self._bytes(name)
            if _digest(data) != self._seen[name]:
                self._take_over(name, data)
            found = self._masks.get(name)
            empty = np.full((side, side), IGNORE, dtype=np.uint8)
            return (empty if found is None else found), self._seen[name]

    def _take_over(self, name: str, data: bytes) -> None:
        """What is on disk, in place of what was read or written before."""
        if data:
            try:
                mask = read_png(data, self._classes)
                check_mask(mask, self._pictures.resolution_px)
            except ValueError as error:
                raise JobError(f"{self._file(name)}: {error}") from error
            self._masks[name] = mask
        elif name not in self._others:
            self._masks.pop(name, None)
        self._seen[name] = _digest(data)

    def other_file(self, name: str) -> str:
        """The file of another tool that a picture is painted in; empty if there is none."""
        return self._others.get(name, "")

    def save(self, name: str, mask: UInt8[np.ndarray, "h w"], seen: str) -> str | None:
        """Write a mask at once or not at all; without a painted pixel its file is removed.

        Returns:
            The file's digest; None if it is not the one `seen`, and then nothing is written.

        Raises:
            JobError: If the picture is painted in another file, an id is no class's, or the file
                cannot be written.
        """
        if other := self.other_file(name):
            raise JobError(f"{name}: is painted in {other}; remove that file to paint it here")
        is_class = mask < self._classes.num_classes
        if not (is_class | (mask == IGNORE)).all():
            raise JobError(
                f"{name}: holds ids of no class; allowed: 0 to {self._classes.num_classes - 1}, and "
                f"{IGNORE} = not painted"
            )
        with self._lock:
            if _digest(self._bytes(name)) != seen:
                return None
            self._write(name, mask if is_class.any() else None)
            self._seen[name] = _digest(self._bytes(name))
            return self._seen[name]

    def _write(self, name: str, mask: UInt8[np.ndarray, "h w"] | None) -> None:
        file = self._file(name)
        if mask is None:
            with writing_into(file.parent):
                file.unlink(missing_ok=True)
            self._masks.pop(name, None)
            return
        with writing_into(file.parent):
            file.parent.mkdir(exist_ok=True)
        replace_file(file, encode_mask(mask))
        self._masks[name] = mask

    def _file(self, name: str) -> Path:
        return self.folder / MASKS_FOLDER / f"{name}.png"

    def _bytes(self, name: str) -> bytes:
        """The picture's own file; nothing if there is none."""
        file = self._file(name)
        try:
            if file.exists() and not file.is_file():  # a pipe would be waited for
                raise JobError(f"{file}: is no file; remove it")
            with file.open("rb") as opened:
                data = opened.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise JobError(f"{file}: cannot be read ({error.strerror})") from error
        if len(data) > MOST_BYTES:
            raise JobError(
                f"{file}: has more than {MOST_BYTES:,} bytes; masks of pictures have less"
            )
        return data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16] if data else ""
