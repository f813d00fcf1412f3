"""The painting page over pictures of the toy generator, for all tests of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from painted import exact_masks, linear_section, pictures_folder
from small_job import small_job

from factory.fit.annotations.pictures_file import picture_name
from factory.generate.weights.find import LocalWeights
from factory.label.painting.material import PaintingMaterial, make_painting_material
from factory.label.painting.server import make_app
from factory.pack.image import decode_mask, encode_mask
from factory.web.server import bind, make_server

TOKEN = "a-secret-of-this-run"
NUMBERS = (3, 8, 21, 30, 41)
NAMES = tuple(map(picture_name, NUMBERS))


def toy_pictures(folder: Path) -> Path:
    """Five pictures of the toy, of which none is painted; the folder."""
    return pictures_folder(folder / "painted", NUMBERS)


def toy_masks(folder: Path) -> dict[str, np.ndarray]:
    """Their exact masks by name."""
    return dict(zip(NAMES, exact_masks(small_job(folder).dataset, NUMBERS), strict=True))


def paint_exactly(folder: Path, names: tuple[str, ...]) -> None:
    """Put the exact masks of some pictures where the page saves them."""
    (folder / "masks").mkdir(exist_ok=True)
    for name in names:
        (folder / "masks" / f"{name}.png").write_bytes(encode_mask(toy_masks(folder)[name]))


def toy_material(folder: Path) -> PaintingMaterial:
    """The material of a job that learns from `folder`, which `toy_pictures` made."""
    job = small_job(folder, {"dataset.segmenter": linear_section(folder)})
    cpu = torch.device("cpu")
    return make_painting_material(job, LocalWeights(None, ""), source="job.yaml", device=cpu)


def saved(folder: Path, name: str) -> np.ndarray:
    """What the page saved of a picture."""
    return decode_mask((folder / "masks" / f"{name}.png").read_bytes())


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The real server over `folder`, on a thread; its page's address."""
    with bind("127.0.0.1", 0) as listener:
        server = make_server(make_app(toy_material(folder), token=TOKEN))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/?token={TOKEN}"
        finally:
            server.should_exit = True
            thread.join()
