"""Labelled pictures of the toy generator, and trainings that take seconds."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from factory.data import LatentBatch
from factory.generate.shapes import ShapesGenerator
from factory.identity import counter_rng
from factory.spec import GeneratorSpec
from factory.spec.check import check_settings
from factory.train_generator.spec import TrainSpec
from factory.train_generator.trainer import Training

GROUNDS = {"blue": (-2.0, -2.0, 2.0), "red": (2.0, -2.0, -2.0)}
"""The ground's colour is the class; everything else varies."""


def pictures(each: int) -> dict[str, np.ndarray]:
    """Class name to pictures (n, 32, 32, 3)."""
    shapes = ShapesGenerator(GeneratorSpec(kind="shapes"), None, torch.device("cpu"))
    found = {}
    for lane, (name, ground) in enumerate(GROUNDS.items()):
        z = np.stack([shapes.draw_z(counter_rng("latent", 9, i, lane)) for i in range(each)])
        z[:, 4:7] = np.array(ground) + z[:, 4:7] * 0.2
        latents = LatentBatch(
            indices=np.arange(each),
            z=z,
            class_labels=np.full(each, -1),
            truncation_psi=1.0,
            truncation_cutoff=None,
            noise_seed=None,
        )
        found[name] = shapes.generate(latents, ()).images.numpy()
    return found


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def tar_of_pictures(folder: Path, each: int = 100) -> Path:
    files = {
        f"{name}/{index:04d}.png": encoded(image)
        for name, images in pictures(each).items()
        for index, image in enumerate(images)
    }
    return write_tar(folder / "pictures.tar", files)


def small_document(uri: Path, output: Path, overrides: Mapping[str, Any] | None = None) -> Any:
    """A training of 8 px as a plain mapping. `overrides` maps dotted paths to values."""
    document: dict[str, Any] = {
        "name": "small",
        "images": {"uri": str(uri), "license": "CC0-1.0", "attribution": "Nobody"},
        "network": {
            "resolution": 8,
            "z_dim": 16,
            "w_dim": 16,
            "mapping_layers": 2,
            "channel_base": 128,
            "channel_max": 16,
        },
        "schedule": {"num_images": 64, "batch_size": 8, "precision": "float32"},
        "run": {"device": "cpu", "num_judged": 40, "save_every_images": 16},
        "output": str(output),
    }
    for path, value in (overrides or {}).items():
        *parents, last = path.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        section[last] = value
    return document


def small_spec(uri: Path, output: Path, overrides: Mapping[str, Any] | None = None) -> TrainSpec:
    return check_settings(TrainSpec, small_document(uri, output, overrides), source="small")


def small_training(uri: Path, output: Path, overrides: Mapping[str, Any] | None = None) -> Training:
    return Training(small_spec(uri, output, overrides))
