"""The wanted layouts of a dataset, and their file beside it: a tar of PNG, in the order of names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from factory.data import IGNORE
from factory.errors import DamageError
from factory.manifest.paths import LAYOUTS_PATH
from factory.pack.image import decode_mask, encode_mask
from factory.pack.named_pictures import encode_pictures, read_pictures, short_name
from factory.spec import DatasetSpec
from factory.store import Store

MOST_LAYOUTS = 10_000
"""Layouts that a dataset can have."""

_NAMES = "layouts.json"


@dataclass(frozen=True, slots=True)
class Layouts:
    """Wanted layouts; kept as PNG, which takes a hundredth of the memory."""

    names: tuple[str, ...]
    """The name of each, as samples' facts tell it."""
    files: tuple[bytes, ...]
    """The PNG of each."""

    def place_of(self, index: int) -> int:
        """Which layout sample `index` should have: all in turn."""
        return index % len(self.files)

    def masks(self, indices: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n h w"]:
        """The layouts of samples."""
        return np.stack([decode_mask(self.files[self.place_of(int(i))]) for i in indices])

    def encode(self) -> bytes:
        """The file; equal layouts with equal names give equal bytes."""
        return encode_pictures(_NAMES, self.names, self.files)


def make_layouts(masks: Sequence[tuple[str, UInt8[np.ndarray, "h w"]]]) -> Layouts:
    """Make layouts of named masks, in the order of names."""
    in_order = sorted(masks, key=lambda named: named[0])
    names = tuple(short_name(name) for name, _ in in_order)
    return Layouts(names, tuple(encode_mask(mask) for _, mask in in_order))


def find_layouts(store: Store, *, num_classes: int, side: int) -> Layouts:
    """Read the layouts beside a dataset, for masks of `num_classes` classes and `side` rows.

    Raises:
        DamageError: If they are missing or damaged.
    """
    where = f"{store.uri}/{LAYOUTS_PATH}"
    with store.fetch(LAYOUTS_PATH) as file:
        if file is None:
            raise DamageError(where=where, found="missing", remedy="run the job again")
        return read_layouts(file, num_classes=num_classes, side=side, source=where)


def read_layouts(path: Path, *, num_classes: int, side: int, source: str) -> Layouts:
    """Read the file of a dataset's layouts; anybody may have written it.

    Raises:
        DamageError: If it is not one for masks of `num_classes` classes and `side` rows.
    """
    try:
        names, files = read_pictures(
            path,
            _NAMES,
            most=MOST_LAYOUTS,
            check=lambda data: check_layout(decode_mask(data), num_classes, side),
        )
    except ValueError as error:
        raise DamageError(
            where=source,
            found=f"not layouts of this dataset ({error})",
            remedy="`factory repair` removes it, then run the job again",
        ) from error
    return Layouts(names, files)


def check_layout(mask: UInt8[np.ndarray, "h w"], num_classes: int, side: int) -> None:
    """Require a mask of `num_classes` classes and `side` rows.

    Raises:
        ValueError: If it is not one.
    """
    if mask.shape != (side, side):
        raise ValueError(f"one has {mask.shape[1]} x {mask.shape[0]} px, not {side} x {side}")
    ids = mask[mask != IGNORE]
    if not ids.size or ids.max() >= num_classes:
        raise ValueError(f"one has other values than 0 to {num_classes - 1}, or is empty")


def missing_classes(layouts: Layouts, names: Sequence[str]) -> list[str]:
    """Those of the classes `names` that no layout has."""
    seen = np.zeros(256, dtype=bool)
    for data in layouts.files:
        seen[np.unique(decode_mask(data))] = True
    return [name for class_id, name in enumerate(names) if not seen[class_id]]


def has_layouts(dataset: DatasetSpec) -> bool:
    """Whether a dataset has a file of wanted layouts, or of edited masks, beside it."""
    return dataset.sampling is not None or (
        dataset.edit is not None and dataset.edit.masks is not None
    )
