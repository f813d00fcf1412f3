"""A merge tree of the toy generator with its samples, for all tests of the label page."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from small_job import small_job

from factory.generate.weights.find import LocalWeights
from factory.label.material import LabelMaterial, make_material
from factory.label.server import make_app
from factory.label.survey import Survey
from factory.spec import JobSpec
from factory.web.server import bind, make_server

TOKEN = "a-secret-of-this-run"
KLISH = {
    "kind": "klish",
    "initial_clusters": 12,
    "fit": {"num_images": 16, "pixels_per_image": 256},
}


def label_job(folder: Path) -> JobSpec:
    return small_job(folder, {"dataset.segmenter": KLISH})


@cache
def fitted_tree() -> bytes:
    """What `label_job` once gave, kept: these tests are about the page, whatever the fit finds."""
    return Path(__file__).with_name("shapes_tree.safetensors").read_bytes()


@cache
def small_material() -> LabelMaterial:
    job = label_job(Path("unused"))
    weights = LocalWeights(None, "")
    material = make_material(job, weights, fitted_tree(), device=torch.device("cpu"))
    survey = Survey(material.renderer, 24)
    survey.fill()
    return replace(material, survey=survey)


@contextmanager
def serving(labels: Path, reviewer: str = "") -> Iterator[str]:
    """The real server over the small material, on a thread; its page's address."""
    with bind("127.0.0.1", 0) as listener:
        server = make_server(make_app(small_material(), labels, token=TOKEN, reviewer=reviewer))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/?token={TOKEN}"
        finally:
            server.should_exit = True
            thread.join()
