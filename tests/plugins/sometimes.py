"""The toy's linear head with a class that is in some masks, or in none."""

import torch
from toy_head import ToyHead

from factory.generate.base import load_generator
from factory.generate.batch import ImageBatch, MaskBatch
from factory.segment.mask_figures import count_px
from factory.spec import GeneratorSpec


class SometimesHead(ToyHead):
    """Masks with less than `least` pixels of class 1 have none of it; `gone` has class 3 nowhere."""

    least, gone = 70, False

    def segment(self, batch: ImageBatch) -> MaskBatch:
        masks = super().segment(batch).masks
        few = (masks == 1).sum(dim=(1, 2)) < self.least
        masks = torch.where((masks == 1) & few[:, None, None], 0, masks)
        masks = torch.where((masks == 3) & self.gone, 0, masks)
        return MaskBatch(masks, torch.ones(len(masks)), count_px(masks, len(self.labels)))


class NeverHead(SometimesHead):
    least, gone = 0, True


def make_sometimes_head(spec, fitted, facts, device):
    return SometimesHead(load_generator(GeneratorSpec(kind="shapes"), None, device=device))


def make_never_head(spec, fitted, facts, device):
    return NeverHead(load_generator(GeneratorSpec(kind="shapes"), None, device=device))
