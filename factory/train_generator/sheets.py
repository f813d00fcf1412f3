"""Contact sheets: real pictures beside samples of a generator."""

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from factory.generate.stylegan2.network import Network
from factory.pack.image import encode_image
from factory.spec import EncodeSpec
from factory.train_generator.images import LabelledImages
from factory.train_generator.samples import draw_samples

_SHEET_SIDE = 6
_STRIP_ROWS, _STRIP_COLUMNS = 2, 8
_GAP_PX = 8
_NAME_PX = 96
_PNG = EncodeSpec(png_level=9)

Sheet = UInt8[np.ndarray, "h w 3"]


def draw_sheets(network: Network, images: LabelledImages, seed: int) -> dict[str, bytes]:
    """Draw one PNG per class: real pictures on the left, samples on the right."""
    return {
        name: encode_image(
            _real_beside_samples(network, images, class_id, _SHEET_SIDE, _SHEET_SIDE, seed), _PNG
        )
        for class_id, name in enumerate(images.groups)
    }


def draw_comparison(network: Network, images: LabelledImages, seed: int) -> bytes:
    """Draw one PNG with a row per class: its name, real pictures, samples."""
    strips = []
    for class_id, name in enumerate(images.groups):
        strip = _real_beside_samples(
            network, images, class_id, _STRIP_ROWS, _STRIP_COLUMNS, seed + class_id
        )
        below = np.full((_GAP_PX, _NAME_PX + strip.shape[1], 3), 255, np.uint8)
        strips += [np.concatenate([_name_plate(name, len(strip)), strip], axis=1), below]
    return encode_image(np.concatenate(strips[:-1]), _PNG)


@torch.no_grad()
def _real_beside_samples(
    network: Network, images: LabelledImages, class_id: int, rows: int, columns: int, seed: int
) -> Sheet:
    """One class: evenly spaced real pictures, a gap, samples."""
    count = rows * columns
    members = images.members(class_id)
    spaced = torch.linspace(0, len(members) - 1, count).long()
    fake = draw_samples(network, torch.full((count,), class_id), images, seed)
    sides = [_tiled(images.pixels[members[spaced]], rows), _tiled(fake.cpu(), rows)]
    gap = np.full((sides[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([sides[0], gap, sides[1]], axis=1)


def _name_plate(name: str, height: int) -> Sheet:
    plate = Image.new("RGB", (_NAME_PX, height), "white")
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(plate).text((_NAME_PX - _GAP_PX, height // 2), name, "black", font, anchor="rm")
    return np.asarray(plate)


def _tiled(pixels: UInt8[Tensor, "n 3 h w"], rows: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    count, _, height, width = pixels.shape
    grid = pixels.view(rows, count // rows, 3, height, width).permute(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, count // rows * width, 3).numpy()
