"""Labelled pictures that a network is scored on: a folder, a tar, or a split of a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from factory.dataset.reader import Dataset
from factory.dataset.selection import select
from factory.dataset.views import make_manifest
from factory.errors import JobError
from factory.evaluate.file_ranges import FileRange, in_tars, is_hidden, whole_file
from factory.export.mark import check_finished
from factory.manifest.paths import round_path
from factory.pack.image import decode_image, decode_mask
from factory.store import Store, open_store

OPTION = "--on"
_MASK = ".mask.png"
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_MODES = ("L", "P")
_IMAGES, _MASKS, _CLASSES = "images", "masks", "classes.txt"
_MOST_CLASSES_BYTES = 2**16
_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture with its true mask."""

    key: str
    """Its name."""
    image: UInt8[np.ndarray, "h w 3"]
    """RGB."""
    mask: UInt8[np.ndarray, "h w"]
    """Class ids; 255 = ignore."""


@runtime_checkable
class Pictures(Protocol):
    """Labelled pictures by position."""

    name: str
    """Where they come from, for display."""
    classes: tuple[str, ...]
    """Names of the classes by id; empty if unknown."""
    keys: tuple[str, ...]
    """Their names, in order."""

    def read(self, position: int) -> LabelledPicture:
        """Read one of them.

        Raises:
            FactoryError: If it cannot be read.
        """


class FilePictures:
    """Pictures and masks in files, or in tars."""

    def __init__(
        self, name: str, classes: tuple[str, ...], pairs: Mapping[str, tuple[FileRange, FileRange]]
    ) -> None:
        """Read `pairs` of picture and mask, by key."""
        self.name, self.classes, self.keys = name, classes, tuple(pairs)
        self._pairs = pairs

    def read(self, position: int) -> LabelledPicture:
        """Read one pair.

        Raises:
            JobError: If a file is no picture, or the mask has another size than its picture.
        """
        key = self.keys[position]
        picture, drawn = self._pairs[key]
        try:
            image = decode_image(picture.read())
            mask = decode_mask(drawn.read(), _MODES)
        except (OSError, ValueError) as error:
            raise JobError(where=f"{OPTION}: {self.name}: {key}", found=str(error)) from error
        if mask.shape != image.shape[:2]:
            height, width = image.shape[:2]
            raise JobError(
                where=f"{OPTION}: {self.name}: {key}",
                found=f"its mask is {mask.shape[0]} x {mask.shape[1]} px",
                allowed=f"{height} x {width} px, as its picture",
            )
        return LabelledPicture(key, image, mask)


class DatasetPictures:
    """The samples of a split of a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        """Read the samples of `dataset`."""
        self.name = f"{dataset.uri} ({dataset.split})"
        self.classes = tuple(label.name for label in dataset.labels)
        self.keys = tuple(dataset.facts(["key"])["key"].to_pylist())
        self._dataset = dataset

    def read(self, position: int) -> LabelledPicture:
        """Read one sample.

        Raises:
            DamageError: If its shard is missing or damaged.
        """
        sample = self._dataset[position]
        return LabelledPicture(sample.key, sample.image, sample.mask)


def find_pictures(on: str, under: str, split: str) -> Pictures:
    """The pictures at `on`: a folder, a tar, or a split of a dataset.

    Raises:
        JobError: If there is nothing, or a word does not suit it.
        StoreError: If a dataset cannot be read.
    """
    if is_dataset(on):
        if under:
            raise JobError(where="--under", found=f"{on} is a dataset", remedy="use --split")
        return open_split(open_store(on), split)
    if split:
        raise JobError(where="--split", found=f"{on} is no dataset", remedy="use --under")
    if not Path(on).exists():
        raise JobError(
            where=OPTION,
            found=f"no file or folder {on[:200]!r}",
            allowed="a folder or tar of pictures with masks, or a dataset",
        )
    return open_pictures(Path(on), under)


def open_pictures(path: Path, under: str = "") -> FilePictures:
    """Index the pictures with masks in a folder or a tar.

    `KEY.mask.png` beside `KEY.png` (`.jpg`, `.webp`), in tars too; or `masks/KEY.png` beside
    `images/KEY.png`, as `factory export folders` writes them. Names of classes come from a `classes.txt`
    with one line per class. A key has the folders on its way.

    Args:
        path: The folder, or the tar.
        under: Take only what lies in this folder of it.

    Raises:
        JobError: If there are no such pictures, one has no mask, two have one key, a tar is damaged, or
            an export did not finish.
    """
    check_finished(path, OPTION)
    files = dict(in_tars([path], _PICTURES, OPTION) if path.is_file() else _in_folder(path))
    inside = f"{under.strip('/')}/" if under.strip("/") else ""
    files = {name: found for name, found in files.items() if name.startswith(inside)}
    masks = {name.removesuffix(_MASK): name for name in files if name.endswith(_MASK)}
    where = f"{OPTION}: {path}" + (f": {inside}" if inside else "")
    if masks:
        pictures = _by_key(
            where, [(_stem(name), name) for name in files if not name.endswith(_MASK)]
        )
    else:
        masks = _by_key(where, [(_below(name, _MASKS), name) for name in files])
        pictures = _by_key(where, [(_below(name, _IMAGES), name) for name in files])
    if not masks:
        raise JobError(
            where=where,
            found="holds no pictures with masks",
            allowed="KEY.png beside KEY.mask.png, images/ beside masks/, a tar of these, or a dataset",
        )
    _check_whole(where, sorted(set(pictures) - set(masks)), "no mask")
    _check_whole(where, sorted(set(masks) - set(pictures)), "no picture")
    pairs = {key: (files[pictures[key]], files[masks[key]]) for key in sorted(masks)}
    return FilePictures(path.name, _class_names(path), pairs)


def open_split(store: Store, split: str = "") -> DatasetPictures:
    """Read a split of a dataset; by default `test`, else `val`, else all that it has.

    Raises:
        JobError: If it has no such split, or no sample.
        StoreError: If there is no dataset.
    """
    manifest = make_manifest(store)
    chosen = split or next((n for n in ("test", "val") if n in manifest.splits), "train")
    dataset = Dataset(store, select(store, manifest, chosen, near_train=False))
    if not len(dataset):
        why = ": all of them nearly repeat training samples" if dataset.num_left_out else ""
        raise JobError(
            where=f"{OPTION}: {store.uri}",
            found=f"no samples in {chosen}{why}",
            remedy="choose another --split, or other pictures",
        )
    return DatasetPictures(dataset)


def is_dataset(on: str) -> bool:
    """Whether a dataset lies there, not a folder or a tar of pictures."""
    return "://" in on or (Path(on) / round_path(0)).is_file() or (Path(on) / "receipts").is_dir()


def _in_folder(folder: Path) -> dict[str, FileRange]:
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if name.lower().endswith(_PICTURES) and not is_hidden(name) and file.is_file():
            found[name] = whole_file(file)
    return found


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _below(name: str, folder: str) -> str:
    """The key of a file somewhere below a folder of this name: its path without that folder."""
    parts = PurePosixPath(name).parts
    if folder not in parts[:-1]:
        return ""
    place = parts.index(folder)
    return _stem("/".join((*parts[:place], *parts[place + 1 :])))


def _by_key(where: str, named: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Names of files by their keys; those without a key are left out."""
    found: dict[str, str] = {}
    for key, name in named:
        if key and key in found:
            raise JobError(
                where=where,
                found=f"{found[key]} and {name} have one key",
                remedy="remove one of them",
            )
        found |= {key: name} if key else {}
    return found


def _check_whole(where: str, keys: list[str], lack: str) -> None:
    if keys:
        shown = ", ".join(keys[:_MOST_SHOWN]) + (", ..." if len(keys) > _MOST_SHOWN else "")
        raise JobError(
            where=where,
            found=f"{len(keys):,} without a partner ({lack} for {shown})",
            remedy="add them, or leave the others out",
        )


def _class_names(path: Path) -> tuple[str, ...]:
    file = path / _CLASSES
    if not file.is_file():
        return ()
    with file.open("rb") as opened:
        data = opened.read(_MOST_CLASSES_BYTES + 1)
    if len(data) > _MOST_CLASSES_BYTES:
        raise JobError(where=str(file), found="too large", allowed="one line per class")
    try:
        return tuple(line.strip() for line in data.decode().splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise JobError(where=str(file), found="not UTF-8", allowed="one line per class") from error
