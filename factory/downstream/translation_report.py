"""What a translator makes of masks: a sheet of images, and a segmentation network's opinion."""

import io
from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from factory.dataset.reader import Dataset
from factory.dataset.samples import ReadSample
from factory.downstream.model_file import Model
from factory.downstream.predict import predict
from factory.downstream.scoring import Overlaps, add_overlaps, count_overlaps
from factory.downstream.translation import OpenTranslator
from factory.errors import JobError

_MOST_SCORED = 256
_NUM_SHOWN, _SHOWN_SEEDS = 8, 3
_SHOWN_PX = 128


def draw_translations(translator: OpenTranslator, dataset: Dataset) -> bytes:
    """A PNG: in columns, a mask, its own image, and images that the translator makes of it."""
    samples = list(islice(dataset.samples(), _NUM_SHOWN))
    colours = np.zeros((256, 3), np.uint8)
    for label in dataset.labels:
        colours[label.id] = label.colour
    masks = torch.from_numpy(np.stack([sample.mask for sample in samples]).astype(np.int64))
    rows = [[colours[sample.mask] for sample in samples], [sample.image for sample in samples]]
    rows += [list(translator.translate(masks, seed)) for seed in range(_SHOWN_SEEDS)]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    factor = max(1, _SHOWN_PX // samples[0].mask.shape[0])
    sheet = sheet.repeat(factor, axis=0).repeat(factor, axis=1)
    sink = io.BytesIO()
    Image.fromarray(sheet).save(sink, "PNG", optimize=True)
    return sink.getvalue()


def score_translations(
    translator: OpenTranslator, model: Model, dataset: Dataset
) -> tuple[float, float]:
    """Mean IoU of a network's answers with the masks: for translated images, and for the real ones.

    The second tells how much the network can see at all. Over all pixels of the first 256 samples.

    Raises:
        JobError: If the network has other classes.
        PluginError: If it fails.
    """
    if model.facts.classes != translator.facts.classes:
        raise JobError(
            where="--model",
            found=f"classes {', '.join(model.facts.classes)}",
            allowed=", ".join(translator.facts.classes),
        )
    made: list[Overlaps] = []
    real: list[Overlaps] = []
    for seed, sample in enumerate(islice(dataset.samples(), _MOST_SCORED)):
        mask = torch.from_numpy(sample.mask.astype(np.int64))[None]
        made.append(_agree(model, translator.translate(mask, seed)[0], sample))
        real.append(_agree(model, sample.image, sample))
    return _miou(made), _miou(real)


def _agree(model: Model, image: UInt8[np.ndarray, "h w 3"], sample: ReadSample) -> Overlaps:
    answer = predict(model, image, "whole").argmax(dim=0).byte().numpy()
    return count_overlaps(answer, sample.mask, len(model.facts.classes))


def _miou(rows: Sequence[Overlaps]) -> float:
    return float(np.nanmean(add_overlaps(rows).iou()))
