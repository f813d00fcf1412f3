"""Networks and pictures with scores that hands can count: a pixel's class is its brightest channel."""

import io
import tarfile
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from factory.downstream.package import NetworkFacts, write_network

CLASSES = ("ground", "rim", "core")
COLOURS = np.array([[200, 20, 20], [20, 200, 20], [20, 20, 200]], np.uint8)


class Colours(torch.nn.Module):
    """Logits are the colour channels: red = class 0, green = 1, blue = 2."""

    def forward(self, images):
        return images * 50.0


def colour_facts(classes=CLASSES, size_px=16):
    return NetworkFacts(tuple(classes), (0.0,) * 3, (1.0,) * 3, size_px, "d1")


def write_colours(folder: Path, classes=CLASSES, size_px=16) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_network(Colours(), colour_facts(classes, size_px), folder)
    return folder


def cell(side=16, core=3, rim=6, at=None):
    """A mask with a core in a rim, both square."""
    mask = np.zeros((side, side), np.uint8)
    y, x = at or (side // 2, side // 2)
    mask[max(0, y - rim) : y + rim, max(0, x - rim) : x + rim] = 1
    mask[max(0, y - core) : y + core, max(0, x - core) : x + core] = 2
    return mask


def png(pixels):
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def write_pairs(folder: Path, pairs: dict) -> Path:
    """Write `KEY.png` and `KEY.mask.png` of pairs (what the picture shows, the mask)."""
    for key, (seen, mask) in pairs.items():
        path = folder / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(COLOURS[seen]))
        path.with_name(f"{path.stem}.mask.png").write_bytes(png(mask))
    return folder


def pack(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.add(file, file.relative_to(folder).as_posix())
    return path
