"""The manifest of a folder with pictures to paint: which images of which generator they are.

Pictures are fitting images, never those of the dataset. A mask belongs to a picture by the picture's
name, and a picture to its image by seed and number, so that feature maps can be made again.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from factory.errors import JobError, count_problems
from factory.identity import digest_of
from factory.manifest.labels import Count, Facts, Name
from factory.manifest.versions import read_file_of
from factory.plan.identity import identity_of
from factory.spec import DatasetSpec
from factory.store.single_file import replace_file

PICTURES_FILE = "pictures.json"
"""Name of the manifest in its folder."""

PICTURES_FOLDER = "pictures"
"""Name of the folder of pictures beside it."""

MOST_PICTURES = 1000
"""Limit of pictures in a folder: a few are painted by hand."""

_MOST_BYTES = 2**20

_DOES_NOT_MOVE_A_BORDER = ("noise", "precision")
"""Settings of a generator that change noise and rounding only, and none of the painted shapes."""


class PictureToPaint(Facts):
    """One picture."""

    name: str = Field(pattern=r"^[0-9]{6,9}$")
    """Its file's name without `.png`: its number with leading zeros."""
    number: Annotated[int, Field(ge=0, lt=10**9)]
    """Its number among the generator's fitting images of this seed."""
    generator_class: Name
    """The generator's class, by name or number; empty if it has none."""


class PicturesFile(Facts):
    """The content of `pictures.json`."""

    schema_version: int = 1
    """Version of this layout."""
    images_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Digest of what decides the images: generator, weights and the latents' distribution."""
    generator: Name
    """Kind of the generator."""
    resolution_px: Annotated[int, Field(ge=1, le=2**16)]
    """Rows and columns of a picture, and of its mask."""
    seed: Count
    """Seed of the images."""
    pick: Name
    """How the pictures were chosen: `diverse`, `random` or `by-class`."""
    pool: Count
    """Images among which they were chosen."""
    pictures: Annotated[list[PictureToPaint], Field(min_length=1, max_length=MOST_PICTURES)]
    """The pictures, in the order in which they were chosen: the first ones help most."""

    @model_validator(mode="after")
    def _numbers_differ(self) -> "PicturesFile":
        if len({one.number for one in self.pictures}) < len(self.pictures):
            raise ValueError("two pictures have the same number")
        if any(one.name != picture_name(one.number) for one in self.pictures):
            raise ValueError("a picture's name is its number")
        return self


def picture_name(number: int) -> str:
    """Name of the picture with this number."""
    return f"{number:06d}"


def find_images_id(dataset: DatasetSpec, weights_sha256: str) -> str:
    """Digest of what decides the shapes of a generator's images; other settings may differ.

    A mask that was painted for one dataset so fits another one of the same generator: with another
    segmenter, size, seed, batch size or kind of noise.
    """
    generator = identity_of(dataset.generator)
    latents = identity_of(dataset.latents)
    kept = {k: v for k, v in generator.items() if k not in _DOES_NOT_MOVE_A_BORDER}
    drawn = {k: v for k, v in latents.items() if k not in ("seed", "draw")}
    return digest_of({"weights_sha256": weights_sha256, "generator": kept, "latents": drawn})[:16]


def check_images(
    folder: Path, content: PicturesFile, dataset: DatasetSpec, weights_sha256: str, side: int
) -> None:
    """Require that the pictures of `folder` are those of a dataset's generator.

    Raises:
        JobError: If another generator made them, or they have not `side` rows and columns.
    """
    ours = find_images_id(dataset, weights_sha256)
    if content.images_id != ours or content.resolution_px != side:
        raise JobError(
            f"dataset.segmenter.annotations: {folder} holds pictures of {content.generator} with "
            f"images_id {content.images_id}, the job's generator makes {ours}: its weights, settings "
            "or latents differ; use the generator that made them, or paint its pictures"
        )


def write_pictures_file(folder: Path, content: PicturesFile) -> None:
    """Write the manifest into `folder`.

    Raises:
        JobError: If it cannot be written.
    """
    replace_file(folder / PICTURES_FILE, (content.model_dump_json(indent=1) + "\n").encode())


def read_pictures_file(folder: Path) -> PicturesFile:
    """Read the manifest of `folder`.

    Raises:
        JobError: If there is none, it is damaged, or a newer version wrote it.
    """
    path = folder / PICTURES_FILE
    remedy = "make the folder with `factory sample`, and paint the pictures in it"
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise JobError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    if len(data) > _MOST_BYTES:
        raise JobError(f"{path}: more than {_MOST_BYTES:,} bytes, is no list of pictures; {remedy}")
    try:
        return read_file_of(PicturesFile, data, source=str(path), error=JobError)
    except ValidationError as error:
        raise JobError(
            f"{path}: not a list of pictures ({count_problems(error.error_count())}, first: "
            f"{error.errors()[0]['msg']}); {remedy}"
        ) from error
