"""The segmenter `style_mixing`: pixels that change colour alike under other fine styles are one segment.

Source: Feng, Gadde, Liao, Ramon and Martinez 2023 (CVPR), "Network-free, unsupervised semantic
segmentation with synthetic images". The paper works per image and states no settings; the sources
of ours are in `spec/style_mixing.py`. Differences: variants share the computation of their coarse
layers and stop at a low resolution, colours are standardised per variant, a guided filter refines
edges, and degenerate masks are rejected.

Samples are processed one by one, each in tensors of its own shape, so that a mask does not depend on
which samples share its batch.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from factory.data import Instances, LatentBatch
from factory.errors import PluginError
from factory.generate.base import Generator, GeneratorFacts, StyleMixer
from factory.generate.batch import ImageBatch, MaskBatch
from factory.identity import counter_rng
from factory.manifest.labels import MaskClass
from factory.segment.mask_figures import count_px
from factory.segment.objects.detectors import Detector, load_detector
from factory.segment.objects.instances import NO_INSTANCE, connected_instances
from factory.segment.segmenter_file import read_segmenter
from factory.segment.style_mixing.boxes import BoxDivider, segment_boxes
from factory.segment.style_mixing.colour_clusters import cluster_pixels, pixel_vectors
from factory.segment.style_mixing.divide import Divided, divide_foreground, divide_shared
from factory.segment.style_mixing.layers import resolve_mixing
from factory.spec.style_mixing import InstancesSpec, StyleMixingSpec

PROTOTYPES_NAME = "prototypes"
"""Name of the class prototypes in the segmenter file."""

_BACKGROUND = MaskClass(id=0, name="background", colour=(70, 80, 95))
_FOREGROUND = MaskClass(id=1, name="foreground", colour=(240, 170, 40))


@dataclasses.dataclass(frozen=True, slots=True)
class _Labelled:
    mask: UInt8[Tensor, "h w"]
    confidence: Float[Tensor, "h w"]
    rejection: str
    instances: Instances | None = None


class StyleMixing:
    """The segmenter plugin `style_mixing`; the protocol is `base.RenderingSegmenter`."""

    def __init__(
        self,
        spec: StyleMixingSpec,
        fitted: Path | None,
        facts: GeneratorFacts,
        device: torch.device,
    ) -> None:
        """Prepare for a generator with `facts`.

        `fitted` is the segmenter file with the prototypes; None without `classes`.

        Raises:
            JobError: If the generator has no styles to mix, or a setting does not fit it.
        """
        self._spec, self._facts = spec, facts
        self._mixing = resolve_mixing(spec, facts)
        self.labels: tuple[MaskClass, ...] = (_BACKGROUND, _FOREGROUND)
        self.layers: tuple[str, ...] = ()
        self.instance_classes: tuple[str, ...] = ()
        self._prototypes: Tensor | None = None
        if spec.classes is not None:
            assert fitted is not None  # `load_segmenter` checks it
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
        clusters of the best two classes. Two clusters of one class do not lower it.
        """
        found: list[_Labelled] = []
        for position, index in enumerate(latents.indices):
            if position and index == latents.indices[position - 1]:
                found.append(found[-1])  # padding of a batch repeats its last sample
            else:
                found.append(self._segment_one(generator, latents, batch, position))
        masks = torch.stack([one.mask for one in found])
        return MaskBatch(
            masks,
            torch.tensor([_mean(one.confidence) for one in found], device=masks.device),
            count_px(masks, len(self.labels)),
            rejections=tuple(one.rejection for one in found),
            instances=tuple(one.instances for one in found if one.instances is not None),
            confidence_by_px=torch.stack([one.confidence for one in found]),
        )

    def clusters(self, generator: Generator, latents: LatentBatch) -> Float[Tensor, "k s s"]:
        """Distances of each clustered pixel of one sample to its k clusters, for fits and benchmarks."""
        colours = self._variants(generator, latents)
        return self._clustered(colours, int(latents.indices[0]), draw=0)

    def _segment_one(
        self, generator: Generator, latents: LatentBatch, batch: ImageBatch, position: int
    ) -> _Labelled:
        one = single(latents, position)
        index = int(one.indices[0])
        colours = self._variants(generator, one)
        image = batch.images[position]
        instances = self._spec.instances
        if instances is not None and self._detector is not None:
            return self._in_boxes(self._detector, instances, colours, image, index)
        guide = image.permute(2, 0, 1).float() / 255
        distances = self._clustered(colours, index, draw=0)
        if self._prototypes is not None:
            maps = {name: batch.features[name][position] for name in self.layers}
            refine_px = self._mixing.refine_px
            found = divide_shared(distances, guide, maps, self._prototypes, refine_px=refine_px)
        else:
            found = self._divided(distances, guide)
        if instances is None:
            return _Labelled(found.mask, found.confidence, found.rejection)
        parts = connected_instances(found.mask.cpu().numpy() == 1, instances)
        rejection = found.rejection or ("" if parts.class_ids else NO_INSTANCE)
        return _Labelled(found.mask, found.confidence, rejection, parts)

    def _variants(self, generator: Generator, one: LatentBatch) -> Float[Tensor, "v 3 s s"]:
        """Colours of one sample in other styles, -1 to 1; a function of the sample's index alone."""
        if not isinstance(generator, StyleMixer):
            raise PluginError(
                f"segmenter 'style_mixing': {type(generator).__name__} has styles in its facts, but no "
                "method `mix`; add it (see factory/generate/base.py)"
            )
        rng = counter_rng("variants", 0, int(one.indices[0]))
        count = self._spec.num_variants
        # Without the job's cutoff: it leaves fine rows untruncated, the only ones a variant uses.
        variants = dataclasses.replace(
            one,
            indices=one.indices.repeat(count),
            z=np.stack([generator.draw_z(rng) for _ in range(count)]),
            class_labels=one.class_labels.repeat(count),
            truncation_psi=self._spec.variant_psi,
            truncation_cutoff=None,
        )
        colours = generator.mix(one, variants, self._mixing.start, self._mixing.stop_px)
        return functional.adaptive_avg_pool2d(colours, self._mixing.side)

    def _clustered(self, colours: Tensor, index: int, *, draw: int) -> Float[Tensor, "k h w"]:
        rng = counter_rng("clustering", 0, index, draw)
        distances = cluster_pixels(pixel_vectors(colours), self._spec.num_clusters, rng)
        return distances.view(-1, *colours.shape[2:])

    def _divided(
        self, distances: Float[Tensor, "k h w"], guide: Float[Tensor, "3 h2 w2"]
    ) -> Divided:
        refine_px = self._mixing.refine_px
        return divide_foreground(distances, guide, self._spec.foreground, refine_px=refine_px)

    def _in_boxes(
        self, detector: Detector, spec: InstancesSpec, colours: Tensor, image: Tensor, index: int
    ) -> _Labelled:
        divider = BoxDivider(
            cluster=lambda cut, draw: self._clustered(cut, index, draw=draw),
            divide=self._divided,
            num_clusters=self._spec.num_clusters,
            scale=self._facts.resolution // self._mixing.side,
        )
        detections = detector.detect(image.cpu().numpy())
        found, confidence = segment_boxes(image, colours, detections, spec, divider)
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
