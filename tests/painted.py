"""Folders of painted pictures of the toy generator, whose exact masks are the paintings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_job import small_job

from factory.data import IGNORE
from factory.fit.annotations.pictures_file import (
    PICTURES_FOLDER,
    PicturesFile,
    PictureToPaint,
    find_images_id,
    picture_name,
    write_pictures_file,
)
from factory.fit.pixels.sampling import fitting_latents
from factory.generate.base import load_generator
from factory.generate.shapes import PARTS
from factory.generate.weights.find import find_weights
from factory.pack.image import decode_image, encode_image, encode_mask
from factory.spec import EncodeSpec

NUMBERS = (3, 8, 21)


def exact_masks(dataset: Any, numbers: Sequence[int], seed: int = 0) -> np.ndarray:
    """The toy's exact masks of fitting images."""
    toy = load_generator(dataset.generator, None, device=torch.device("cpu"))
    return toy.masks(fitting_latents(toy, dataset, seed, numbers)).numpy().astype(np.uint8)


def pictures_folder(
    folder: Path, numbers: Sequence[int] = NUMBERS, seed: int = 0, dataset: Any = None
) -> Path:
    """Pictures to paint of the toy generator, or of that of `dataset`; the folder."""
    dataset = dataset or small_job(folder).dataset
    weights = find_weights(dataset.generator)
    generator = load_generator(dataset.generator, weights.path, device=torch.device("cpu"))
    latents = fitting_latents(generator, dataset, seed, numbers)
    images = generator.generate(latents, ()).images.numpy()
    (folder / PICTURES_FOLDER).mkdir(parents=True)
    pictures = []
    for number, image in zip(numbers, images, strict=True):
        name = picture_name(number)
        (folder / PICTURES_FOLDER / f"{name}.png").write_bytes(encode_image(image, EncodeSpec()))
        pictures.append(PictureToPaint(name=name, number=number, generator_class=""))
    write_pictures_file(
        folder,
        PicturesFile(
            images_id=find_images_id(dataset, weights.sha256),
            generator=dataset.generator.kind,
            resolution_px=generator.facts.resolution,
            seed=seed,
            pick="random",
            pool=64,
            pictures=pictures,
        ),
    )
    return folder


def painted_by_brightness(folder: Path, dataset: Any) -> Path:
    """Pictures of any generator, painted dark and light; the folder."""
    pictures_folder(folder, dataset=dataset)
    for file in (folder / PICTURES_FOLDER).iterdir():
        grey = decode_image(file.read_bytes()).mean(axis=2)
        mask = (grey > np.median(grey)).astype(np.uint8)
        (folder / f"{file.stem}.mask.png").write_bytes(encode_mask(mask))
    return folder


def generated_pictures(folder: Path, dataset: Any, num_pictures: int = 12) -> Path:
    """Images of the generator of `dataset` as PNG, to stand in for real pictures; the folder."""
    folder.mkdir(parents=True)
    generator = load_generator(
        dataset.generator, find_weights(dataset.generator).path, device=torch.device("cpu")
    )
    with torch.inference_mode():
        latents = fitting_latents(generator, dataset, 99, range(num_pictures))
        images = generator.generate(latents, ()).images.numpy()
    for number, image in enumerate(images):
        (folder / f"{number}.png").write_bytes(encode_image(image, EncodeSpec()))
    return folder


def painted_folder(
    folder: Path, numbers: Sequence[int] = NUMBERS, *, share: float = 1.0, seed: int = 0
) -> Path:
    """Pictures with a `share` of their pixels painted; the folder."""
    pictures_folder(folder, numbers, seed)
    (folder / "masks").mkdir()
    masks = exact_masks(small_job(folder).dataset, numbers, seed)
    for number, mask in zip(numbers, masks, strict=True):
        is_painted = np.random.default_rng(number).random(mask.shape) < share
        painted = np.where(is_painted, mask, IGNORE).astype(np.uint8)
        (folder / "masks" / f"{picture_name(number)}.png").write_bytes(encode_mask(painted))
    return folder


def linear_section(folder: Path, **settings: Any) -> Mapping[str, Any]:
    """The section of a job with a head fitted on `folder`: few epochs, quick ones."""
    quick = {"epochs": 6, "steps_per_epoch": 24, "learning_rate": 0.05, "lower_after": 4}
    section = {"kind": "linear", "annotations": str(folder), "classes": list(PARTS)}
    return section | quick | settings
