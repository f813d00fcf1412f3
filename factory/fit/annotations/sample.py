"""Write the pictures to be painted into a folder."""

from collections.abc import Sequence
from pathlib import Path

import torch

from factory.errors import JobError
from factory.fit.annotations.pictures_file import (
    PICTURES_FILE,
    PICTURES_FOLDER,
    PicturesFile,
    PictureToPaint,
    find_images_id,
    picture_name,
    write_pictures_file,
)
from factory.fit.pick import Choice, pick_numbers
from factory.fit.pixels.sampling import fitting_latents
from factory.fit.progress import Progress
from factory.generate.base import Generator, GeneratorFacts
from factory.pack.image import encode_image
from factory.spec import DatasetSpec, EncodeSpec
from factory.store.single_file import replace_file, writing_into


def sample_pictures(
    generator: Generator,
    dataset: DatasetSpec,
    weights_sha256: str,
    folder: Path,
    choice: Choice,
    progress: Progress,
) -> PicturesFile:
    """Write pictures of the dataset's generator and their manifest into `folder`.

    Raises:
        JobError: If the folder holds pictures already or cannot be written, or they cannot be chosen so.
        Interrupted: If a stop was requested.
    """
    if (folder / PICTURES_FILE).exists():
        raise JobError(
            f"{folder}: holds pictures already, and what is painted on them; choose another folder"
        )
    with torch.inference_mode():
        numbers = pick_numbers(generator, dataset, choice, progress)
        pictures = _write(generator, dataset, folder / PICTURES_FOLDER, numbers, choice.seed)
    content = PicturesFile(
        images_id=find_images_id(dataset, weights_sha256),
        generator=dataset.generator.kind,
        resolution_px=generator.facts.resolution,
        seed=choice.seed,
        pick=choice.pick,
        pool=choice.pool_size,
        pictures=pictures,
    )
    write_pictures_file(folder, content)  # last: a folder with a manifest is whole
    return content


def _write(
    generator: Generator, dataset: DatasetSpec, folder: Path, numbers: Sequence[int], seed: int
) -> list[PictureToPaint]:
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for start in range(0, len(numbers), dataset.batch_size):
        some = numbers[start : start + dataset.batch_size]
        latents = fitting_latents(generator, dataset, seed, some)
        images = generator.generate(latents, ()).images.cpu().numpy()
        for number, image, label in zip(some, images, latents.class_labels, strict=True):
            name = picture_name(number)
            replace_file(folder / f"{name}.png", encode_image(image, EncodeSpec()))
            shown = _class_name(int(label), generator.facts)
            pictures.append(PictureToPaint(name=name, number=number, generator_class=shown))
    return pictures


def _class_name(label: int, facts: GeneratorFacts) -> str:
    if label < 0:
        return ""
    return facts.class_names[label] if facts.class_names else str(label)
