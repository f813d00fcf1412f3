"""What the method of `plugins/painted.py` is given: painted pictures, and a section of a job."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_job import small_job

from factory.data import IGNORE
from factory.fit.pixels.sampling import fitting_batch
from factory.generate.base import load_generator
from factory.generate.shapes import PARTS
from factory.pack.image import encode_mask

KIND = "plugins.painted:METHOD"
NAMES = list(PARTS)


def paint(folder: Path, count: int = 3) -> Path:
    """Paint a fifth of the pixels of `count` fitting images of the toy generator; the folder."""
    dataset = small_job(folder).dataset
    toy = load_generator(dataset.generator, None, device=torch.device("cpu"))
    folder.mkdir()
    for index in range(count):
        batch_index, position = divmod(index, dataset.batch_size)
        truth = toy.masks(fitting_batch(toy, dataset, 0, batch_index))[position].numpy()
        is_painted = np.random.default_rng(index).random(truth.shape) < 0.2
        pixels = np.where(is_painted, truth, IGNORE).astype(np.uint8)
        (folder / f"{index}.png").write_bytes(encode_mask(pixels))
    return folder


def painted_section(pictures: Path, **settings: Any) -> dict[str, Any]:
    """The section of a job that has a head fitted on `pictures`."""
    return {"kind": KIND, "settings": {"pictures": str(pictures), "names": NAMES, **settings}}
