"""The pictures that a dataset's objects are put on, and their file beside it: a tar of PNG."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from factory.errors import DamageError
from factory.identity import counter_rng
from factory.manifest.paths import BACKGROUNDS_PATH
from factory.pack.image import decode_image, encode_image
from factory.pack.named_pictures import encode_pictures, read_pictures, short_name
from factory.spec import EncodeSpec
from factory.store import Store

MOST_BACKGROUNDS = 10_000
"""Pictures that a dataset can have."""

Picture = tuple[str, UInt8[np.ndarray, "3 h w"]]
"""A picture and its name."""

_NAMES = "backgrounds.json"


@dataclass(frozen=True, slots=True)
class Backgrounds:
    """Pictures of one size; kept as PNG."""

    names: tuple[str, ...]
    """The name of each, as samples' facts tell it."""
    files: tuple[bytes, ...]
    """The PNG of each."""

    def place_of(self, seed: int, index: int) -> int:
        """Which picture sample `index` of a dataset with this seed lies on."""
        return int(counter_rng("backgrounds", seed, index).integers(len(self.files)))

    def pictures(
        self, seed: int, indices: Int64[np.ndarray, " n"]
    ) -> tuple[list[str], UInt8[np.ndarray, "n h w 3"]]:
        """Names and pictures of the backgrounds of samples."""
        places = [self.place_of(seed, int(index)) for index in indices]
        decoded = np.stack([decode_image(self.files[place]) for place in places])
        return [self.names[place] for place in places], decoded

    def encode(self) -> bytes:
        """The file; equal pictures with equal names give equal bytes."""
        return encode_pictures(_NAMES, self.names, self.files)


def make_backgrounds(pictures: Iterable[Picture]) -> Backgrounds:
    """Make backgrounds of pictures, in the order of their names."""
    files = {
        name: encode_image(np.ascontiguousarray(pixels.transpose(1, 2, 0)), EncodeSpec())
        for name, pixels in pictures
    }
    names = sorted(files)
    return Backgrounds(tuple(map(short_name, names)), tuple(files[name] for name in names))


def load_backgrounds(store: Store, side: int) -> Backgrounds:
    """Read the backgrounds beside a dataset with images of `side` rows.

    Raises:
        DamageError: If they are missing or damaged.
    """
    where = f"{store.uri}/{BACKGROUNDS_PATH}"
    with store.fetch(BACKGROUNDS_PATH) as file:
        if file is None:
            raise DamageError(where=where, found="missing", remedy="run the job again")
        return read_backgrounds(file, side, source=where)


def read_backgrounds(path: Path, side: int, *, source: str) -> Backgrounds:
    """Read the file of a dataset's backgrounds; anybody may have written it.

    Raises:
        DamageError: If it is not one for images of `side` rows.
    """
    try:
        check = partial(_check, side=side)
        return Backgrounds(*read_pictures(path, _NAMES, most=MOST_BACKGROUNDS, check=check))
    except ValueError as error:
        raise DamageError(
            where=source,
            found=f"not backgrounds of this dataset ({error})",
            remedy="`factory repair` removes it, then run the job again",
        ) from error


def _check(data: bytes, side: int) -> None:
    height, width = decode_image(data).shape[:2]
    if (height, width) != (side, side):
        raise ValueError(f"one has {width} x {height} px, not {side} x {side}")
