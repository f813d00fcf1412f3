"""Read the pictures that a job's objects are put on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from factory.dataset.planned_files import BACKGROUNDS
from factory.errors import JobError
from factory.generate.base import Generator, load_generator
from factory.generate.weights.find import LocalWeights
from factory.make.backgrounds import MOST_BACKGROUNDS, Backgrounds, Picture, make_backgrounds
from factory.make.compose import Composer
from factory.manifest.labels import MaskClass
from factory.spec import ComposeSpec, DatasetSpec
from factory.store import Store
from factory.train_generator.images import check_pictures, read_pictures

_SETTING = "dataset.compose.folder"


def read_given(spec: ComposeSpec | None, side: int) -> Backgrounds | None:
    """Read the backgrounds that `spec` names, at `side` rows and columns; None if it names none.

    The largest central square of each is taken, and averaged down.

    Raises:
        JobError: If there are none, too many, or one cannot be used.
    """
    if spec is None or spec.folder is None:
        return None
    return make_backgrounds(_at_most(read_pictures(spec.folder, side, where=_SETTING)))


def given_composer(
    dataset: DatasetSpec, labels: Sequence[MaskClass], generator: Generator
) -> Composer | None:
    """What makes composites of masks with the classes `labels`, if there are to be any.

    Raises:
        JobError: If nothing says what the object is, or a background cannot be used.
    """
    if dataset.compose is None:
        return None
    backgrounds = read_given(dataset.compose, generator.facts.resolution)
    return Composer(dataset, labels, backgrounds)


def _at_most(pictures: Iterator[Picture]) -> Iterator[Picture]:
    for place, picture in enumerate(pictures):
        if place == MOST_BACKGROUNDS:
            raise JobError(
                f"{_SETTING}: more than {MOST_BACKGROUNDS:,} pictures; take some of them out"
            )
        yield picture


def check_folder_of_backgrounds(dataset: DatasetSpec) -> None:
    """Require that the backgrounds of a job are there, before anything is fitted; none is decoded.

    Raises:
        JobError: If they are not.
    """
    if dataset.compose is not None and dataset.compose.folder is not None:
        check_pictures(dataset.compose.folder, where=_SETTING)


def find_backgrounds(
    dataset: DatasetSpec, weights: LocalWeights, *, store: Store, theirs: Mapping[str, Any]
) -> bytes:
    """The file of a job's backgrounds; empty for a job without. A dataset goes on without their source.

    Args:
        dataset: The job's dataset.
        weights: The generator's weights.
        store: Where the dataset is, or will be.
        theirs: The identity of the dataset that is there; empty if there is none.

    Raises:
        JobError: If they cannot be used.
    """
    if dataset.compose is None or dataset.compose.folder is None:
        return b""
    try:
        generator = load_generator(dataset.generator, weights.path, device=torch.device("cpu"))
        given = read_given(dataset.compose, generator.facts.resolution)
    except JobError:
        stored = BACKGROUNDS.read(store, theirs)
        if not stored:
            raise
        return stored
    return given.encode() if given is not None else b""
