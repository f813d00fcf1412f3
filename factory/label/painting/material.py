"""What the painting page shows: pictures, the classes of a job, and what is painted so far."""

from dataclasses import dataclass
from pathlib import Path

import torch

from factory.errors import JobError
from factory.fit.annotations.classes import make_classes, make_labels
from factory.fit.annotations.pictures_file import (
    PICTURES_FOLDER,
    PicturesFile,
    check_images,
    read_pictures_file,
)
from factory.fit.linear import find_layers
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights
from factory.label.painting.masks import MaskFiles
from factory.label.painting.suggestions import Suggestions
from factory.manifest.labels import MaskClass
from factory.spec import JobSpec
from factory.spec.linear import LinearSpec


@dataclass(frozen=True, slots=True)
class PaintingMaterial:
    """Pictures to paint."""

    name: str
    """Name of the job."""
    folder: Path
    """The folder of `factory sample`."""
    pictures: PicturesFile
    """Its manifest."""
    labels: tuple[MaskClass, ...]
    """The classes."""
    masks: MaskFiles
    """What is painted."""
    suggestions: Suggestions
    """Suggests masks for what is not."""

    def picture_file(self, name: str) -> Path:
        """The file of a picture."""
        return self.folder / PICTURES_FOLDER / f"{name}.png"


def painting_of(spec: JobSpec, source: str) -> LinearSpec:
    """The settings of a job that learns from paintings. `source` names the job in errors.

    Raises:
        JobError: If it does not.
    """
    method = spec.dataset.segmenter
    if not isinstance(method, LinearSpec) or method.annotations is None:
        raise JobError(
            f"{source}: dataset.segmenter: found kind {method.kind!r}; pictures are painted for kind: "
            "linear with `annotations` and `classes`"
        )
    return method


def make_painting_material(
    spec: JobSpec, weights: LocalWeights, *, source: str, device: torch.device
) -> PaintingMaterial:
    """Read the pictures of a job and what is painted on them.

    Raises:
        JobError: If the job learns from no paintings, there are no pictures or they are another
            generator's, or a mask cannot be used.
    """
    method = painting_of(spec, source)
    assert method.annotations is not None  # `painting_of` requires them
    folder = Path(method.annotations)
    pictures, labels = read_pictures_file(folder), make_labels(method.classes)
    generator = load_generator(spec.dataset.generator, weights.path, device=device)
    check_images(folder, pictures, spec.dataset, weights.sha256, generator.facts.resolution)
    layers = find_layers(method, generator.facts)
    return PaintingMaterial(
        name=spec.name,
        folder=folder,
        pictures=pictures,
        labels=labels,
        masks=MaskFiles(folder, pictures, make_classes(labels)),
        suggestions=Suggestions(generator, spec.dataset, pictures, layers, len(labels)),
    )
