"""Detectors and teachers from outside the package, for the tests of style mixing."""

import numpy as np
import torch

from factory.generate.base import GeneratorFacts
from factory.generate.batch import ImageBatch, MaskBatch
from factory.generate.shapes import PARTS, ShapesGenerator
from factory.manifest.labels import MaskClass
from factory.segment.objects.detectors import Detections
from factory.spec import GeneratorSpec, PluginSegmenterSpec

LABELS = (
    MaskClass(id=0, name="dark", colour=(0, 0, 0)),
    MaskClass(id=1, name="bright", colour=(255, 255, 255)),
)


class CentreBox:
    """Finds one thing of class 1 in the middle of every image, and a doubtful one in its corner."""

    def __init__(self, facts: GeneratorFacts) -> None:
        self.side = facts.resolution

    def detect(self, image: np.ndarray) -> Detections:
        low, high = self.side * 0.15, self.side * 0.85
        boxes = np.array([[0.0, 0.0, 9.0, 9.0], [low, low, high, high]])
        return Detections(boxes, np.array([0, 1]), np.array([0.2, 0.9]))


class OddBox:
    """Finds one thing whose box begins and ends inside the pixels that are clustered at 8 rows."""

    BOX = (5, 6, 27, 26)

    def __init__(self, facts: GeneratorFacts) -> None:
        self.facts = facts

    def detect(self, image: np.ndarray) -> Detections:
        return Detections(np.array([self.BOX], float), np.zeros(1, np.int64), np.array([0.9]))


class Nothing:
    """Finds nothing."""

    def __init__(self, facts: GeneratorFacts) -> None:
        self.facts = facts

    def detect(self, image: np.ndarray) -> Detections:
        return Detections(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))


class NoDetector:
    """Has no `detect`."""

    def __init__(self, facts: GeneratorFacts) -> None:
        self.facts = facts


class Threshold:
    """A teacher: pixels whose green is above 128 are `bright`; it disowns every `disown`-th mask."""

    layers: tuple[str, ...] = ()

    def __init__(
        self, spec: PluginSegmenterSpec, fitted: object, facts: GeneratorFacts, device: torch.device
    ) -> None:
        self.labels = LABELS
        self.disown = spec.settings.get("disown", 0)
        self.noise = spec.settings.get("noise", False)
        self.only = spec.settings.get("only")

    def segment(self, batch: ImageBatch) -> MaskBatch:
        masks = (batch.images[..., 1] > 128).to(torch.uint8)
        if self.noise:
            masks = (batch.images.sum(dim=3) % 2).to(torch.uint8)
        if self.only is not None:
            masks = torch.full_like(masks, self.only)
        counts = torch.stack([(masks == k).sum(dim=(1, 2)) for k in (0, 1)], dim=1)
        confidence = masks.float().mean(dim=(1, 2))
        words = tuple(
            "disowned" if self.disown and i % self.disown == 0 else "" for i in range(len(masks))
        )
        return MaskBatch(masks, confidence, counts, rejections=words if self.disown else ())


class Parts:
    """A teacher that knows the toy's exact masks: it finds them by their features' directions."""

    layers: tuple[str, ...] = ("s32",)

    def __init__(
        self, spec: PluginSegmenterSpec, fitted: object, facts: GeneratorFacts, device: torch.device
    ) -> None:
        generator = ShapesGenerator(GeneratorSpec(kind="shapes"), None, device)
        self.directions = generator._directions["s32"].T
        self.labels = tuple(
            MaskClass(id=k, name=name, colour=(k * 60, 0, 0)) for k, name in enumerate(PARTS)
        )

    def segment(self, batch: ImageBatch) -> MaskBatch:
        pixels = batch.features["s32"].permute(0, 2, 3, 1)
        scores = pixels @ self.directions.T - self.directions.square().sum(dim=1) / 2
        masks = scores.argmax(dim=3).to(torch.uint8)
        counts = torch.stack([(masks == k).sum(dim=(1, 2)) for k in range(4)], dim=1)
        return MaskBatch(masks, torch.full((len(masks),), 0.9), counts)
