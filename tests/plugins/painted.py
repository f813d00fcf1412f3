"""A method from outside the package: a few painted pictures become a linear head.

It brings all that a method of ours has: settings, a segmenter, a fitter, and files that the fit reads.
A job names `painted:METHOD`, or `painted` where the module is installed with an entry point.

    dataset:
      segmenter:
        kind: painted:METHOD
        settings:
          pictures: painted/
          names: [ground, thing]
"""

from dataclasses import replace
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from factory.data import IGNORE
from factory.errors import JobError
from factory.fit.context import FitContext
from factory.fit.logistic import fit_logistic
from factory.fit.pixels.sampling import choose_layers, fitting_batch, read_places
from factory.generate.base import GeneratorFacts
from factory.generate.batch import ImageBatch, MaskBatch
from factory.pack.image import decode_mask
from factory.segment.linear_head import LinearHead
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import weight_name
from factory.spec import Method, MethodSettings
from factory.spec.fit import FittingSeed, LayerNames

MODULE = __name__


class PaintedSpec(MethodSettings):
    """A linear head fitted on painted pictures."""

    pictures: str = ""
    """Folder of masks `0.png`, `1.png` ... of fitting images; 255 = not painted."""
    names: list[str] = Field(["ground", "thing"], min_length=2)
    """Names of the classes."""
    layers: LayerNames = "auto"
    """Feature maps of the head."""
    seed: FittingSeed = 0
    """Seed of the images that were painted."""
    least_confidence: float = Field(0, ge=0, le=1)
    """Pixels below it get 255."""
    head: str | None = None
    """A fitted head, used instead of fitting here."""


class Painted(LinearHead):
    """The segmenter."""

    def __init__(
        self, spec: PaintedSpec, fitted: Path, facts: GeneratorFacts, device: torch.device
    ) -> None:
        super().__init__(spec, fitted, facts, device)
        self._least = spec.least_confidence

    def segment(self, batch: ImageBatch) -> MaskBatch:
        found = super().segment(batch)
        unsure = found.confidence_by_px < self._least
        masks = torch.where(unsure, IGNORE, found.masks)
        counts = torch.stack([(masks == k).sum(dim=(1, 2)) for k in range(len(self.labels))], dim=1)
        return replace(found, masks=masks, class_px=counts)


def fit_painted(spec: PaintedSpec, context: FitContext) -> bytes:
    """Read the pictures, make their images again, and tell their pixels apart."""
    paths = sorted(Path(spec.pictures).glob("*.png"), key=lambda path: int(path.stem))
    if not paths:
        raise JobError(f"dataset.segmenter.settings.pictures: {spec.pictures} has no N.png")
    layers = choose_layers(spec.layers, context.generator.facts)
    context.progress.begin("pictures", len(paths))
    read = []
    for path in paths:
        read.append(_painted_pixels(spec, context, layers, path))
        context.progress.advance(1)
    vectors, ids = (torch.cat(parts) for parts in zip(*read, strict=True))
    weights, bias = fit_logistic(vectors, ids, len(spec.names))
    best = torch.addmm(bias, vectors, weights.T).topk(2, dim=1).values
    widths = [context.generator.facts.layers[layer].channels for layer in layers]
    blocks = torch.split(weights, widths, dim=1)
    tensors = {weight_name(name): block for name, block in zip(layers, blocks, strict=True)}
    plain = unnamed_labels(len(spec.names))
    return context.encode(
        {**tensors, "bias": bias},
        layers=layers,
        margin_scale=float((best[:, 0] - best[:, 1]).median()),
        labels=[
            label.model_copy(update={"name": n}) for label, n in zip(plain, spec.names, strict=True)
        ],
        fitted_on={"num_pictures": len(paths), "num_pixels": len(ids)},
    )


def _painted_pixels(
    spec: PaintedSpec, context: FitContext, layers: tuple[str, ...], path: Path
) -> tuple[Tensor, Tensor]:
    batch_index, position = divmod(int(path.stem), context.dataset.batch_size)
    latents = fitting_batch(context.generator, context.dataset, spec.seed, batch_index)
    features = context.generator.generate(latents, layers).features
    mask = torch.from_numpy(decode_mask(path.read_bytes()).copy())
    rows, columns = (mask != IGNORE).nonzero().T
    places = torch.stack([columns, rows], dim=1) * 2 / (len(mask) - 1) - 1
    maps = [features[layer][position] for layer in layers]
    vectors = torch.cat([read_places(one, places.float()) for one in maps], dim=1)
    return vectors, mask[rows, columns].long()


METHOD = Method(
    settings=f"{MODULE}:PaintedSpec",
    segmenter=f"{MODULE}:Painted",
    fitter=f"{MODULE}:fit_painted",
    files=("pictures",),
    after_fit=("least_confidence",),
    fitted_file="head",
    needs=("layers",),
)
