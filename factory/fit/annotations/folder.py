"""Find and read the masks of painted pictures, whatever tool wrote them."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from factory.data import IGNORE
from factory.errors import JobError
from factory.fit.annotations.classes import PaintedClasses
from factory.fit.annotations.cvat import LABELMAP, read_cvat, read_labelmap
from factory.fit.annotations.json_files import read_json
from factory.fit.annotations.pictures_file import (
    PICTURES_FILE,
    PICTURES_FOLDER,
    PicturesFile,
    PictureToPaint,
)
from factory.fit.annotations.png import read_png

MOST_FILES = 10_000
"""Files that a folder of pictures may hold."""

MOST_BYTES = 2**26
"""Of one file with masks."""

_MASK_NAME = re.compile(r"([0-9]{6,9})([._-](mask|label|labels))?", re.ASCII)
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".download", ".swp")
_OTHER_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".tga", ".tif", ".tiff", ".webp")
_NO_MASKS = ("SegmentationObject", "JPEGImages", "ImageSets")
"""Folders of CVAT's and VOC's exports that hold no classes."""

_MOST_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class PaintedPicture:
    """A picture with its mask."""

    picture: PictureToPaint
    """Which image it is."""
    mask: UInt8[np.ndarray, "h w"]
    """Class ids; 255 where nothing is painted."""


@dataclass(frozen=True, slots=True)
class FoundMask:
    """A mask, and where it was found."""

    name: str
    """Name of the picture."""
    mask: UInt8[np.ndarray, "h w"]
    """Class ids; 255 where nothing is painted."""
    file: Path
    """The file that holds it."""


def read_painted(
    folder: Path, pictures: PicturesFile, classes: PaintedClasses
) -> list[PaintedPicture]:
    """The pictures of `folder` that are painted, in the order of its manifest.

    Raises:
        JobError: If a file cannot be read as masks of these pictures with these classes, a line
            for each; or if nothing is painted.
    """
    found = find_masks(folder, pictures, classes)
    if not found:
        raise JobError(
            f"{folder}: none of its {len(pictures.pictures)} pictures is painted; put masks named as "
            f"the pictures beside {PICTURES_FILE}, e.g. masks/{pictures.pictures[0].name}.png"
        )
    return [
        PaintedPicture(picture, found[picture.name].mask)
        for picture in pictures.pictures
        if picture.name in found
    ]


def find_masks(
    folder: Path, pictures: PicturesFile, classes: PaintedClasses
) -> dict[str, FoundMask]:
    """The masks of `folder` by picture, of whatever tool; there may be none.

    Raises:
        JobError: If a file cannot be read as masks of these pictures with these classes, a line
            for each.
    """
    problems: list[str] = []
    found: dict[str, FoundMask] = {}
    for file in _files(folder):
        try:
            for one in _masks_in(file, folder, pictures, classes):
                if one.name in found:
                    other = found[one.name].file.relative_to(folder)
                    raise ValueError(f"paints {one.name}, as {other} does; keep one of them")
                found[one.name] = one
        except OSError as error:
            problems.append(f"{file}: cannot be read ({error.strerror})")
        except ValueError as error:
            problems.append(f"{file}: {error}")
    _refuse(problems)
    return found


def read_masks(
    folder: Path, classes: PaintedClasses, side: int
) -> list[tuple[str, UInt8[np.ndarray, "h w"]]]:
    """Every mask in a folder with its name, whatever picture it is of, in the order of files.

    Pictures of `factory sample` beside them are left out.

    Raises:
        JobError: If a file cannot be read as masks with these classes and of `side` rows, a line for
            each; or if there is none.
    """
    check_folder(folder)
    problems: list[str] = []
    found_in: dict[str, Path] = {}
    masks = []
    for file in _files(folder):
        place = file.relative_to(folder)
        if PICTURES_FOLDER in place.parts[:-1] or place.parts == (PICTURES_FILE,):
            continue
        try:
            for stem, mask in _decoded(file, folder, classes, side):
                if stem in found_in:
                    raise ValueError(
                        f"has a mask {stem!r}, as {found_in[stem]} has; keep one of them"
                    )
                check_mask(mask, side)
                found_in[stem] = place
                masks.append((stem, mask))
        except OSError as error:
            problems.append(f"{file}: cannot be read ({error.strerror})")
        except ValueError as error:
            problems.append(f"{file}: {error}")
    _refuse(problems)
    if not masks:
        raise JobError(f"{folder}: has no mask; put some in, such as PNG with class ids")
    return masks


def check_folder(folder: Path) -> None:
    """Require a folder.

    Raises:
        JobError: If it is something else, or not there.
    """
    if not folder.is_dir():
        found = "is no folder" if folder.exists() else "does not exist"
        raise JobError(f"{folder}: {found}; give a folder of masks, such as PNG with class ids")


def read_mask(file: Path, classes: PaintedClasses, side: int) -> UInt8[np.ndarray, "h w"]:
    """The mask in a PNG file; 255 where nothing is painted.

    Raises:
        JobError: If it cannot be read as a mask with these classes and of `side` rows.
    """
    try:
        if file.exists() and not file.is_file() and not file.is_dir():  # a pipe would be waited for
            raise ValueError("is no file; give a PNG")
        mask = read_png(_read(file), classes)
        check_mask(mask, side)
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
        raise JobError(where=str(file), found=found, remedy="check the path") from error
    except ValueError as error:
        raise JobError(where=str(file), found=str(error)) from error
    return mask


def _refuse(problems: list[str]) -> None:
    if len(problems) == 1:
        raise JobError(problems[0])
    if problems:
        shown = problems[:_MOST_PROBLEMS]
        more = len(problems) - len(shown)
        rest = [f"and {more} more"] if more else []
        raise JobError(f"{len(problems)} files cannot be used\n  " + "\n  ".join([*shown, *rest]))


def _files(folder: Path) -> list[Path]:
    """Every ordinary file that may hold masks, in the order of names."""
    found = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") for part in parts) or set(parts[:-1]) & set(_NO_MASKS):
            continue
        if not stat.S_ISREG(path.stat().st_mode if path.exists() else 0):
            continue
        found.append(path)
        if len(found) > MOST_FILES:
            raise JobError(
                f"{folder}: more than {MOST_FILES:,} files; give a folder of `factory sample` with "
                "nothing but pictures and masks in it"
            )
    return sorted(found)


def _masks_in(
    file: Path, folder: Path, pictures: PicturesFile, classes: PaintedClasses
) -> Iterator[FoundMask]:
    """The masks of `pictures` in one file; none if it holds something else.

    Raises:
        ValueError: If it holds masks that cannot be used; OSError if it cannot be read.
    """
    names = {picture.name for picture in pictures.pictures}
    place, suffix = file.relative_to(folder), file.suffix.lower()
    if place.parts == (PICTURES_FILE,) or (
        place.parts[0] == PICTURES_FOLDER and file.stem in names and suffix == ".png"
    ):
        return
    side = pictures.resolution_px
    for stem, mask in _decoded(file, folder, classes, side):
        matched = _MASK_NAME.fullmatch(stem)
        if matched is None or matched[1] not in names:
            raise ValueError(
                f"has a mask of {stem!r}, which is no picture here; they are {_some(sorted(names))}"
            )
        check_mask(mask, side)
        yield FoundMask(matched[1], mask, file)


def _decoded(
    file: Path, folder: Path, classes: PaintedClasses, side: int
) -> Iterator[tuple[str, UInt8[np.ndarray, "h w"]]]:
    """The masks in one file with the names they have there; none if it holds something else."""
    suffix = file.suffix.lower()
    if suffix in _UNFINISHED or file.name.endswith("~"):
        raise ValueError("is a file that was not saved completely; save it again, or remove it")
    if suffix == ".zip":
        raise ValueError("is an archive; unpack it here")
    if suffix in _OTHER_PICTURES and _MASK_NAME.fullmatch(file.stem):
        raise ValueError("is named as a mask, and is no PNG; save it as PNG, or remove it")
    if suffix == ".png":
        yield file.stem, read_png(_read(file), _with_labelmap(file, folder, classes))
    elif suffix == ".json":
        yield from read_json(_read(file), file.stem, classes, side)
    elif suffix == ".xml":
        yield from read_cvat(_read(file), classes, side)


def _with_labelmap(file: Path, folder: Path, classes: PaintedClasses) -> PaintedClasses:
    """The classes in the colours of the nearest label map at or above a mask, if there is any."""
    for place in file.parents:
        labelmap = place / LABELMAP
        if labelmap.is_file():
            return read_labelmap(_read(labelmap), classes)
        if place == folder:
            break
    return classes


def check_mask(mask: UInt8[np.ndarray, "h w"], side: int) -> None:
    """Require a picture's size, and something that is painted.

    Raises:
        ValueError: If it has another size, or nothing is painted.
    """
    height, width = mask.shape
    if (height, width) != (side, side):
        raise ValueError(
            f"is {width} x {height} px; its picture is {side} x {side}: paint on the picture as it is, "
            "or resize the mask by nearest neighbour"
        )
    if (mask == IGNORE).all():
        raise ValueError("has no painted pixel; paint it, or remove it")


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    if not data:
        raise ValueError("is empty: it was not saved completely; save it again, or remove it")
    if len(data) > MOST_BYTES:
        raise ValueError(f"has more than {MOST_BYTES:,} bytes; masks of pictures have less")
    return data


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
