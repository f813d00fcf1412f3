"""Style mixing: what changes colour together under other fine styles belongs together.

Source: Feng, Gadde, Liao, Ramon and Martinez 2023 (CVPR), "Network-free, unsupervised semantic
segmentation with synthetic images". The paper is per image and names no settings; where ours come
from stands in `spec/style_mixing.py`. Where we differ: variants share the computation of their coarse
layers and stop at small colours, colours are standardised per variant, edges are refined with the
image as guide, and degenerate masks are rejected.

Samples are worked on one after the other, each in tensors of its own shape: a mask does not depend on
which samples share its batch.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from factory.data import Instances, LatentBatch
from factory.errors import PluginError
from factory.generate.base import Generator, GeneratorFacts, StyleMixer
from factory.generate.batch import ImageBatch, MaskBatch
from factory.identity import counter_rng
from factory.manifest.labels import ClassLabel
from factory.segment.objects.detectors import load_detector
from factory.segment.objects.instances import NO_INSTANCE, Box, boxed_instances, connected_instances
from factory.segment.refine import guided_filter, upsample
from factory.segment.segmenter_file import read_segmenter
from factory.segment.style_mixing.colour_clusters import cluster_pixels, pixel_vectors
from factory.segment.style_mixing.foreground import find_foreground
from factory.segment.style_mixing.layers import plan_mixing
from factory.segment.style_mixing.signatures import nearest_prototypes, signatures
from factory.spec.style_mixing import StyleMixingSpec

PROTOTYPES_NAME = "prototypes"
"""Name of the class prototypes in the segmenter file."""
ONE_CLASS = "one_class"
"""Why a mask without a second class is rejected."""

_BACKGROUND = ClassLabel(id=0, name="background", colour=(70, 80, 95))
_FOREGROUND = ClassLabel(id=1, name="foreground", colour=(240, 170, 40))


@dataclasses.dataclass(frozen=True, slots=True)
class _Labelled:
    mask: UInt8[Tensor, "h w"]
    confidence: Float[Tensor, "h w"]
    rejection: str
    instances: Instances | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Divided:
    """An image or a box of it, as distances to the nearest cluster of each class."""

    mask: UInt8[Tensor, "h w"]
    confidence: Float[Tensor, "h w"]
    rejection: str


class StyleMixing:
    """The segmenter plugin `style_mixing`; see `base.RenderingSegmenter` for its promise."""

    def __init__(
        self,
        spec: StyleMixingSpec,
        fitted: Path | None,
        facts: GeneratorFacts,
        device: torch.device,
    ) -> None:
        """Prepare for a generator with `facts`; `fitted` holds the prototypes of shared classes.

        Raises:
            JobError: If the generator has no styles to mix, or a setting does not fit it.
        """
        self._spec, self._facts = spec, facts
        self._plan = plan_mixing(spec, facts)
        self.labels: tuple[ClassLabel, ...] = (_BACKGROUND, _FOREGROUND)
        self.layers: tuple[str, ...] = ()
        self.instance_classes: tuple[str, ...] = ()
        self._prototypes: Tensor | None = None
        if spec.classes is not None:
            assert fitted is not None  # `load_segmenter` sees to that
            tensors, head = read_segmenter(fitted)
            self._prototypes = tensors[PROTOTYPES_NAME].to(device)
            self.labels, self.layers = tuple(head.labels), tuple(head.layers)
        self._detector = None
        if spec.instances is not None:
            self.instance_classes = tuple(spec.instances.class_names)
            if spec.instances.detector != "components":
                self._detector = load_detector(spec.instances, facts)

    def segment_latents(
        self, generator: Generator, latents: LatentBatch, batch: ImageBatch
    ) -> MaskBatch:
        """Masks of the images of `batch`, which `generator` made of `latents`.

        A pixel's confidence is (d2 - d1) / d2, where d1 and d2 are its distances to the nearest
        clusters of the best two classes: two clusters of one class are no doubt about the class.
        """
        found: list[_Labelled] = []
        for position, index in enumerate(latents.indices):
            if position and index == latents.indices[position - 1]:
                found.append(found[-1])  # padding
            else:
                found.append(self._segment_one(generator, latents, batch, position))
        masks = torch.stack([one.mask for one in found])
        counts = [torch.bincount(mask.flatten(), minlength=len(self.labels)) for mask in masks]
        return MaskBatch(
            masks,
            torch.tensor([_mean(one.confidence) for one in found], device=masks.device),
            torch.stack(counts),
            rejections=tuple(one.rejection for one in found),
            instances=tuple(one.instances for one in found if one.instances is not None),
            confidence_by_px=torch.stack([one.confidence for one in found]),
        )

    def clusters(self, generator: Generator, latents: LatentBatch) -> Float[Tensor, "k s s"]:
        """Distances of each pixel of the variants of one sample to its image's clusters."""
        colours = self._variants(generator, latents)
        return self._clustered(colours, int(latents.indices[0]), lane=0)

    def _segment_one(
        self, generator: Generator, latents: LatentBatch, batch: ImageBatch, position: int
    ) -> _Labelled:
        one = single(latents, position)
        index = int(one.indices[0])
        colours = self._variants(generator, one)
        image = batch.images[position]
        if self._detector is not None:
            return self._in_boxes(colours, image, index)
        guide = image.permute(2, 0, 1).float() / 255
        distances = self._clustered(colours, index, lane=0)
        if self._prototypes is not None:
            maps = {name: batch.features[name][position] for name in self.layers}
            found = self._shared_classes(distances, guide, maps)
        else:
            found = self._foreground(distances, guide)
        if self._spec.instances is None:
            return _Labelled(found.mask, found.confidence, found.rejection)
        parts = connected_instances(found.mask.cpu().numpy() == 1, self._spec.instances)
        rejection = found.rejection or ("" if parts.class_ids else NO_INSTANCE)
        return _Labelled(found.mask, found.confidence, rejection, parts)

    def _variants(self, generator: Generator, one: LatentBatch) -> Float[Tensor, "v 3 s s"]:
        """Small colours of the sample in other styles; the same for a sample in any batch."""
        if not isinstance(generator, StyleMixer):
            raise PluginError(
                f"segmenter 'style_mixing': {type(generator).__name__} states styles but cannot mix "
                "them; it needs mix (see factory/generate/base.py)"
            )
        rng = counter_rng("look", 0, int(one.indices[0]))
        count = self._spec.num_variants
        looks = dataclasses.replace(
            one,
            indices=one.indices.repeat(count),
            z=np.stack([generator.draw_z(rng) for _ in range(count)]),
            class_labels=one.class_labels.repeat(count),
            truncation_psi=self._spec.variant_psi,
            truncation_cutoff=None,
        )
        colours = generator.mix(one, looks, self._plan.start, self._plan.stop_px)
        return functional.adaptive_avg_pool2d(colours, self._plan.side)

    def _clustered(self, colours: Tensor, index: int, *, lane: int) -> Float[Tensor, "k h w"]:
        spec = self._spec
        distances = cluster_pixels(
            pixel_vectors(colours, standardise=spec.standardise),
            spec.num_clusters,
            restarts=spec.restarts,
            rounds=spec.rounds,
            rng=counter_rng("clustering", 0, index, lane),
        )
        return distances.view(-1, *colours.shape[2:])

    def _foreground(
        self, distances: Float[Tensor, "k h w"], guide: Float[Tensor, "3 h2 w2"]
    ) -> _Divided:
        verdict = find_foreground(distances.argmin(dim=0), len(distances), self._spec.foreground)
        inside = torch.tensor(verdict.is_foreground, device=distances.device)
        classes = [distances[chosen] for chosen in (~inside, inside) if bool(chosen.any())]
        if len(classes) < 2:
            empty = torch.zeros_like(guide[0])
            return _Divided((empty + int(inside.any())).to(torch.uint8), empty, verdict.rejection)
        found = self._refined(torch.stack([part.amin(dim=0) for part in classes]), guide)
        return dataclasses.replace(found, rejection=verdict.rejection)

    def _shared_classes(
        self,
        distances: Float[Tensor, "k h w"],
        guide: Float[Tensor, "3 h2 w2"],
        features: dict[str, Tensor],
    ) -> _Divided:
        assert self._prototypes is not None  # only called with shared classes
        means = signatures(distances.argmin(dim=0), len(distances), features)
        assigned = nearest_prototypes(means, self._prototypes)
        present = torch.unique(assigned)
        if len(present) < 2:
            empty = torch.zeros_like(guide[0])
            return _Divided((empty + present[0]).to(torch.uint8), empty, ONE_CLASS)
        nearest = torch.stack([distances[assigned == c].amin(dim=0) for c in present])
        found = self._refined(nearest, guide)
        return dataclasses.replace(found, mask=present[found.mask.long()].to(torch.uint8))

    def _refined(
        self, nearest: Float[Tensor, "m h w"], guide: Float[Tensor, "3 h2 w2"]
    ) -> _Divided:
        """The class of least distance at the guide's size, and how clearly it is the least."""
        height, width = guide.shape[1:]
        maps = upsample(nearest, (height, width))
        if self._plan.refine_px:
            maps = guided_filter(maps, guide, self._plan.refine_px, self._spec.refine_epsilon)
        best = maps.topk(2, dim=0, largest=False)
        first, second = best.values.clamp(min=0)  # the filter may go below 0
        confidence = (second - first) / second.clamp(min=1e-12)
        return _Divided(best.indices[0].to(torch.uint8), confidence, "")

    def _in_boxes(self, colours: Tensor, image: Tensor, index: int) -> _Labelled:
        """The detector's boxes, each clustered and divided by itself."""
        assert self._detector is not None  # only called with one
        assert self._spec.instances is not None  # it comes from there
        pixels = image.cpu().numpy()
        guide = image.permute(2, 0, 1).float() / 255
        scale = self._facts.resolution // self._plan.side
        confidence = torch.ones_like(guide[0])

        def divide(number: int, box: Box) -> Bool[np.ndarray, "h w"] | None:
            rows, columns = (_cells(part, scale) for part in (box.rows, box.columns))
            cut = colours[:, :, rows, columns]
            if cut[0, 0].numel() < 4 * self._spec.num_clusters:
                return None
            around = tuple(slice(part.start * scale, part.stop * scale) for part in (rows, columns))
            distances = self._clustered(cut, index, lane=number + 1)
            found = self._foreground(distances, guide[:, around[0], around[1]])
            if found.rejection:
                return None
            confidence[around] = found.confidence
            whole = np.zeros(pixels.shape[:2], dtype=bool)
            whole[around] = found.mask.cpu().numpy() == 1
            inside = np.zeros_like(whole)
            inside[box.rows, box.columns] = whole[box.rows, box.columns]
            return inside

        found = boxed_instances(pixels, self._detector.detect(pixels), self._spec.instances, divide)
        mask = torch.from_numpy((found.ids > 0).astype(np.uint8)).to(image.device)
        rejection = "" if found.class_ids else NO_INSTANCE
        return _Labelled(mask, confidence, rejection, found)


def single(latents: LatentBatch, position: int) -> LatentBatch:
    """The latent at `position` as a batch of its own."""
    own = slice(position, position + 1)
    return dataclasses.replace(
        latents,
        indices=latents.indices[own],
        z=latents.z[own],
        class_labels=latents.class_labels[own],
    )


def _mean(confidence: Float[Tensor, "h w"]) -> float:
    return round(float(confidence.mean()), 6)


def _cells(pixels: slice, scale: int) -> slice:
    """The clustered pixels that cover a range of image pixels."""
    return slice(pixels.start // scale, -(-pixels.stop // scale))
