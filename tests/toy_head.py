"""A linear head of the toy generator that finds its parts, and layouts that the toy can make."""

import torch

from factory.generate.batch import ImageBatch, MaskBatch
from factory.generate.shapes import PARTS
from factory.manifest.labels import MaskClass
from factory.segment.mask_figures import count_px

LAYER = "s32"
LABELS = tuple(
    MaskClass(id=place, name=name, colour=(60 * place, 0, 99)) for place, name in enumerate(PARTS)
)


class ToyHead:
    """Scores of the parts by the toy's own directions; the protocols are those of `LinearHead`."""

    labels = LABELS
    layers = (LAYER,)

    def __init__(self, toy):
        # The directions are the features of the parts: their inverse gives the parts back.
        self._weights = torch.linalg.pinv(toy._directions[LAYER])

    def class_scores(self, features, side):
        assert side == 32
        return 6 * torch.einsum("kc,nchw->nkhw", self._weights, features[LAYER].float())

    def segment(self, batch: ImageBatch) -> MaskBatch:
        masks = self.class_scores(batch.features, 32).argmax(dim=1).to(torch.uint8)
        sure = torch.ones(len(masks))
        return MaskBatch(masks, sure, count_px(masks, len(LABELS)))


def make_toy_head(spec, fitted, facts, device):
    """The plugin `toy_head:make_toy_head`: nothing to fit."""
    from factory.generate.base import load_generator
    from factory.spec import GeneratorSpec

    return ToyHead(load_generator(GeneratorSpec(kind="shapes"), None, device=device))
