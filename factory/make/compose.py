"""Composites: the object of every sample on another background, with the mask that this makes.

Source: pasting objects with their masks is Ghiasi et al. 2021, "Simple copy-paste is a strong data
augmentation method for instance segmentation"; with a soft edge it is the composite of Abdal et al.
2021, "Labels4Free". A composite is exact: each pixel has the class of the image that it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from factory.data import IGNORE, LatentBatch
from factory.errors import JobError
from factory.generate.batch import ImageBatch, MaskBatch
from factory.identity import sample_key
from factory.make.backgrounds import Backgrounds
from factory.manifest.labels import MaskClass, find_classes
from factory.segment.confidence import class_sums
from factory.segment.mask_figures import count_px, mean_of_claimed
from factory.spec import ComposeSpec, DatasetSpec

BEHIND_REJECTED = "background_rejected"
"""Reason for rejecting a sample, in receipts: the segmenter rejected the one behind it."""

_SECTION = "dataset.compose"
_GROUND = "background"


@dataclass(frozen=True, slots=True)
class Composed:
    """Composites of a batch, still on the device."""

    batch: ImageBatch
    """Their images; the feature maps are those of the objects' images."""
    labelled: MaskBatch
    """Their masks."""
    names: tuple[str, ...]
    """What each object lies on: the key of a sample, or the name of a picture."""


@dataclass(frozen=True, slots=True)
class _Behind:
    """What lies behind the objects of a batch; agreement is that of the worse of both masks."""

    images: UInt8[Tensor, "n h w 3"]
    masks: UInt8[Tensor, "n h w"]
    share: Float[Tensor, "n h w"]
    confidence: Float[Tensor, " n"]
    by_px: Float[Tensor, "n h w"] | None
    agreement: Float[Tensor, " n"] | None
    names: tuple[str, ...]
    rejections: tuple[str, ...]


def find_objects(spec: ComposeSpec | None, labels: Sequence[MaskClass]) -> tuple[int, ...]:
    """The ids of the classes that make up objects; empty without composites.

    Raises:
        JobError: If there is no such class, nothing says what the object is, or nothing is left of the
            ground.
    """
    if spec is None:
        return ()
    where = f"{_SECTION}.classes"
    names = ", ".join(label.name for label in labels)
    if spec.classes is not None:
        chosen = set(find_classes(spec.classes, labels, where=where))
    else:
        chosen = {label.id for label in labels if label.name != _GROUND}
        if len(chosen) == len(labels):
            raise JobError(
                where=where,
                found=f"left out, and none of the classes ({names}) is called {_GROUND!r}: nothing says "
                "what the object is",
                remedy="name the classes of the object",
            )
    if len(chosen) == len(labels):
        raise JobError(
            where=where,
            found=f"all classes ({names}) belong to the object, so that nothing of a background shows",
            remedy="leave out those of the ground",
        )
    return tuple(sorted(chosen))


class Composer:
    """Makes composites of batches. Thread-safe."""

    def __init__(
        self, dataset: DatasetSpec, labels: Sequence[MaskClass], backgrounds: Backgrounds | None
    ) -> None:
        """Prepare for a dataset with composites, whose masks have the classes `labels`.

        Raises:
            JobError: If nothing says what the object is.
        """
        assert dataset.compose is not None
        self._objects = find_objects(dataset.compose, labels)
        self._num_classes = len(labels)
        self._seed = dataset.latents.seed
        self._is_iou = dataset.segmenter.confidence == "agreement"
        self._backgrounds = backgrounds
        ground = [label.id for label in labels if label.id not in self._objects]
        # Which of several grounds a picture from elsewhere shows, nobody knows.
        self._ground_id = ground[0] if len(ground) == 1 else IGNORE

    def compose(self, batch: ImageBatch, labelled: MaskBatch, latents: LatentBatch) -> Composed:
        """Composites of the images of `batch`, with masks `labelled`.

        Where samples lie on others, each lies on the next of the batch, and the last composite is of no
        use.
        """
        shows = torch.stack([labelled.masks == one for one in self._objects]).any(dim=0)
        # What a clean-up changed in the mask it did not change in alpha.
        is_soft = labelled.alpha is not None and labelled.cleaned_px is None
        share = labelled.alpha if labelled.alpha is not None and is_soft else shows.float()
        behind = self._behind(batch, labelled, share, latents)
        front = share[..., None]
        mixed = batch.images.float() * front + behind.images.float() * (1 - front)
        images = mixed.round().clamp(0, 255).to(torch.uint8)
        masks = torch.where(shows, labelled.masks, behind.masks)
        confidence, by_px = self._confidence(labelled, behind, masks, shows)
        composites = replace(
            labelled,
            masks=masks,
            confidence=confidence,
            class_px=count_px(masks, self._num_classes),
            confidence_by_px=by_px,
            alpha=None if labelled.alpha is None else share + (1 - share) * behind.share,
            rejections=behind.rejections,
            agreement=behind.agreement,
        )
        return Composed(replace(batch, images=images, rgba=None), composites, behind.names)

    def _behind(
        self,
        batch: ImageBatch,
        labelled: MaskBatch,
        share: Float[Tensor, "n h w"],
        latents: LatentBatch,
    ) -> _Behind:
        own = labelled.rejections or ("",) * len(latents.indices)
        if self._backgrounds is not None:
            names, pictures = self._backgrounds.pictures(self._seed, latents.indices)
            return _Behind(
                images=torch.from_numpy(pictures).to(batch.images.device),
                masks=torch.full_like(labelled.masks, self._ground_id),
                share=torch.zeros_like(share),
                confidence=labelled.confidence,
                by_px=labelled.confidence_by_px,
                agreement=labelled.agreement,
                names=tuple(names),
                rejections=own,
            )
        places = [(place + 1) % len(own) for place in range(len(own))]
        other = torch.tensor(places, device=batch.images.device)
        by_px, agreed = labelled.confidence_by_px, labelled.agreement
        return _Behind(
            images=batch.images[other],
            masks=labelled.masks[other],
            share=share[other],
            confidence=labelled.confidence[other],
            by_px=None if by_px is None else by_px[other],
            agreement=None if agreed is None else torch.minimum(agreed, agreed[other]),
            names=tuple(sample_key(int(latents.indices[place])) for place in places),
            rejections=tuple(
                word or (BEHIND_REJECTED if own[behind] else "")
                for word, behind in zip(own, places, strict=True)
            ),
        )

    def _confidence(
        self,
        labelled: MaskBatch,
        behind: _Behind,
        masks: UInt8[Tensor, "n h w"],
        shows: Bool[Tensor, "n h w"],
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n h w"] | None]:
        """Confidence of composites and of their pixels.

        Where the background shows, two things must be right: that the object is not there, and what the
        background is.
        """
        least = torch.minimum(labelled.confidence, behind.confidence)
        if labelled.confidence_by_px is None or behind.by_px is None:
            return least, None
        own = labelled.confidence_by_px
        by_px = torch.where(shows, own, torch.minimum(own, behind.by_px))
        mean, by_px = mean_of_claimed(by_px, masks != IGNORE)
        if not self._is_iou:
            return mean, by_px
        counts = count_px(masks, self._num_classes)
        means = class_sums(by_px, masks, self._num_classes) / counts.clamp(min=1)
        of_classes = means.sum(dim=1) / (counts > 0).sum(dim=1).clamp(min=1)
        return torch.minimum(least, of_classes), by_px
