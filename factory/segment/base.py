"""The protocols of segmenters, and how one is loaded and called.

A segmenter names the feature maps it needs before any image is made. Equal batches give equal masks;
mask values are below the number of its classes, or 255 where no class claims the pixel.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.errors import JobError, PluginError
from factory.generate.base import Generator, GeneratorFacts
from factory.generate.batch import ImageBatch, MaskBatch
from factory.manifest.labels import CoarserClasses, MaskClass
from factory.segment.clean import Cleaner, make_cleaner
from factory.segment.confidence import AgreementHeads, read_heads
from factory.segment.methods import (
    ROLE,
    find_method,
    has_file,
    import_part,
    is_fitted,
    settings_of,
)
from factory.segment.serving import check_generator
from factory.spec import MethodSettings


@runtime_checkable
class Segmenter(Protocol):
    """Turns a generator's images and features into masks."""

    labels: tuple[MaskClass, ...]
    """Classes of the masks; a class's position is its id."""
    layers: tuple[str, ...]
    """Feature maps it needs."""

    def segment(self, batch: ImageBatch) -> MaskBatch:
        """Masks of the images of `batch`."""


@runtime_checkable
class RenderingSegmenter(Protocol):
    """A segmenter that calls the generator again, for more images of each latent."""

    labels: tuple[MaskClass, ...]
    """Classes of the masks; a class's position is its id."""
    layers: tuple[str, ...]
    """Feature maps of the first image that it needs."""

    def segment_latents(
        self, generator: Generator, latents: LatentBatch, batch: ImageBatch
    ) -> MaskBatch:
        """Masks of the images of `batch`, which `generator` made of `latents`."""


@runtime_checkable
class DifferentiableSegmenter(Protocol):
    """A segmenter whose masks are the best of scores, through which gradients flow to feature maps."""

    layers: tuple[str, ...]
    """Feature maps it needs."""

    def class_scores(self, features: Mapping[str, Tensor], side: int) -> Float[Tensor, "n k h w"]:
        """One score per class and pixel of images of `side` rows and columns."""


AnySegmenter = Segmenter | RenderingSegmenter


def generate_and_segment(
    generator: Generator, segmenter: AnySegmenter, latents: LatentBatch, layers: Sequence[str] = ()
) -> tuple[ImageBatch, MaskBatch]:
    """Generate the images of `latents`, and segment them.

    The images come with the feature maps that the segmenter needs, and those named in `layers`.

    Raises:
        JobError, PluginError: If segmenter and generator do not fit each other.
    """
    wanted = dict.fromkeys((*segmenter.layers, *layers))
    batch = generator.generate(latents, tuple(wanted))
    return batch, segment_images(segmenter, generator, latents, batch)


def segment_images(
    segmenter: AnySegmenter, generator: Generator, latents: LatentBatch, batch: ImageBatch
) -> MaskBatch:
    """Segment the images of `batch`, which `generator` made of `latents`."""
    if isinstance(segmenter, RenderingSegmenter):
        return segmenter.segment_latents(generator, latents, batch)
    return segmenter.segment(batch)


class ChangedSegmenter:
    """A segmenter whose masks are changed afterwards; the protocol is `RenderingSegmenter`.

    The other protocols that the segmenter implements (coarser classes, figures about its fit) remain.
    """

    def __init__(self, inner: AnySegmenter, layers: Sequence[str] = ()) -> None:
        """Change what `inner` makes, with the feature maps `layers` beside those that it needs."""
        self.labels = inner.labels
        self.layers = tuple(dict.fromkeys((*inner.layers, *layers)))
        self._inner = inner

    @property
    def inner(self) -> AnySegmenter:
        """The segmenter whose masks are changed."""
        return self._inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the segmenter has
        """What the segmenter has beside its masks."""
        # Its own masks are unchanged, and copies have no `_inner` yet.
        if name in ("segment", "_inner"):
            raise AttributeError(name)
        return getattr(self._inner, name)


class CleanedSegmenter(ChangedSegmenter):
    """A segmenter whose masks are cleaned up."""

    def __init__(self, inner: AnySegmenter, cleaner: Cleaner) -> None:
        """Clean what `inner` makes."""
        super().__init__(inner)
        self.cleaner = cleaner

    def segment_latents(
        self, generator: Generator, latents: LatentBatch, batch: ImageBatch
    ) -> MaskBatch:
        """Clean masks of the images of `batch`, which `generator` made of `latents`."""
        return self.cleaner.clean(segment_images(self._inner, generator, latents, batch))


class JudgedSegmenter(ChangedSegmenter):
    """A segmenter whose masks get their confidence from heads that learnt from its other masks."""

    def __init__(self, inner: AnySegmenter, heads: AgreementHeads) -> None:
        """Let `heads` judge what `inner` makes."""
        super().__init__(inner, heads.layers)
        self._heads = heads

    def segment_latents(
        self, generator: Generator, latents: LatentBatch, batch: ImageBatch
    ) -> MaskBatch:
        """Masks of the images of `batch`, which `generator` made of `latents`."""
        found = segment_images(self._inner, generator, latents, batch)
        return self._heads.judge(found, batch.features)


@runtime_checkable
class CountedPasses(Protocol):
    """A segmenter that calls the generator again, and says how often."""

    num_passes: int
    """Forward passes of the whole generator for an image and its mask."""


def count_passes(segmenter: AnySegmenter) -> int | None:
    """Forward passes of the generator for an image and its mask; None if the segmenter does not say."""
    if isinstance(segmenter, CountedPasses):
        return segmenter.num_passes
    plain = segmenter
    while isinstance(plain, ChangedSegmenter):
        plain = plain.inner
    return None if isinstance(plain, RenderingSegmenter) else 1


@runtime_checkable
class Mergeable(Protocol):
    """A segmenter whose classes can be merged after the masks are made."""

    coarser: tuple[CoarserClasses, ...]
    """Coarser classes, few first."""


@runtime_checkable
class FittedSegmenter(Protocol):
    """A segmenter that states figures about its fit."""

    fitted_on: Mapping[str, int | float]
    """Numbers about the fit, kept in the dataset's manifest."""


@runtime_checkable
class InstanceSegmenter(Protocol):
    """A segmenter that can number the objects of an image."""

    instance_classes: tuple[str, ...]
    """Names of the objects' classes, by class id. Empty = not requested; else every
    `MaskBatch` holds `instances`."""


def instance_classes(segmenter: AnySegmenter) -> list[str]:
    """Names of the object classes of a segmenter with instances; empty without."""
    return list(segmenter.instance_classes) if isinstance(segmenter, InstanceSegmenter) else []


def finish_segmenter(fitted: bytes, spec: MethodSettings, *, source: str) -> bytes:
    """Make the segmenter file for the settings that apply after a fit, such as KLiSH's `cut`.

    For methods without such settings it is `fitted` itself. `source` names `fitted` in errors.

    Raises:
        JobError: If `spec` asks for something that the fit does not have.
    """
    method = find_method(spec.kind)
    if not method.finish:
        return fitted
    finished: bytes = import_part(spec.kind, method.finish)(
        fitted, settings_of(spec), source=source
    )
    return finished


def load_segmenter(
    spec: MethodSettings, fitted: Path | None, facts: GeneratorFacts, device: torch.device
) -> AnySegmenter:
    """Build the segmenter that `spec` names for a generator with `facts`.

    A segmenter is a class (or function) called with its settings, its fitted file (None only if it
    needs no fitting), the generator's facts and the device. A plugin without a settings class
    gets the job's section unchanged.

    Raises:
        JobError: If the method or its confidence is not fitted yet, cannot work on such a generator, or
            a setting does not fit it.
        PluginError: If there is no such plugin, it is not a segmenter, or it needs feature maps
            that the generator does not offer.
    """
    check_generator(spec.kind, facts)
    if fitted is None and has_file(spec):
        raise JobError(f"segmenter {spec.kind!r}: not fitted yet; run `factory fit` first")
    make = import_part(spec.kind, find_method(spec.kind).segmenter)
    own = fitted if is_fitted(spec) else None  # the file may be there for the confidence alone
    segmenter = ROLE.call(spec.kind, make, settings_of(spec), own, facts, device)
    if not isinstance(segmenter, Segmenter | RenderingSegmenter):
        raise PluginError(
            f"segmenter {spec.kind!r}: {type(segmenter).__name__} is not a segmenter; it needs "
            "labels, layers and segment or segment_latents (see factory/segment/base.py)"
        )
    missing = [name for name in segmenter.layers if name not in facts.layers]
    if missing:
        offered = ", ".join(facts.layers) or "none"
        raise PluginError(
            f"segmenter {spec.kind!r}: needs feature map {missing[0]!r}, the generator offers "
            f"{offered}; fit it on this generator"
        )
    segmenter = _with_clean_up(segmenter, spec)
    if spec.confidence == "margin":
        return segmenter
    assert fitted is not None  # `has_file` was asked
    return JudgedSegmenter(segmenter, read_heads(fitted, facts, device))


def _with_clean_up(segmenter: AnySegmenter, spec: MethodSettings) -> AnySegmenter:
    if spec.clean is None:
        return segmenter
    if instance_classes(segmenter):
        raise JobError(
            "dataset.segmenter.clean: found beside `instances`, whose objects are parts of the mask as "
            "it is; leave one of them out (`instances.min_px` leaves out small objects)"
        )
    return CleanedSegmenter(segmenter, make_cleaner(spec.clean, segmenter.labels))
