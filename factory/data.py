"""The types that flow between the packages, and the letters of their axes.

Axes: `n` samples of a batch, `h` rows, `w` columns, `c` channels (3 = red, green, blue), `k` classes,
`z` latent width. A tensor in another order says so in its name (`images_nchw`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64, UInt8, UInt16
from pydantic import ConfigDict, Field

from factory.described import Described

IGNORE = 255
"""The mask value of a pixel that belongs to no class; it is never scored and never trained on."""


class TargetSearch(Described):
    """How the samples of a round are searched, for a coverage target that few images have.

    All settings are here, so that a round makes the same bytes whatever the defaults become.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    layouts: tuple[int, ...] = Field(min_length=1, max_length=10_000)
    """Samples of the dataset whose masks are the wanted layouts, by index: those in a sample's own split
    in turn."""
    method: Literal["optimise"] = "optimise"
    """As in `LayoutSpec`, as all of the following."""
    candidates: int = Field(8, ge=1, le=100_000)
    """Latents that are drawn for each sample."""
    steps: int = Field(20, ge=1, le=10_000)
    """Steps of Adam."""
    latents: Literal["shared"] = "shared"
    """One latent for all layers, as in samples that are not searched."""
    learning_rate: float = Field(0.1, gt=0, le=10)
    """Learning rate of Adam."""
    stay: float = Field(1e-3, ge=0, le=1e3)
    """Weight of the squared distance from the candidate in the loss."""
    prior: float = Field(0.0, ge=0, le=1e3)
    """Weight of the squared length of the latents in the loss. None by default: Adam moves what the
    layout does not depend on, such as colours, as fast as the rest, and the images would pale."""

    @property
    def images_each(self) -> int:
        """Images of the budget that a sample takes: a step takes as long as three images."""
        # Candidates and steps; then the latents after the last step, and the best ones again.
        return self.candidates + 3 * self.steps + 2


class Steering(Described):
    """How a round differs from the `dataset` section in order to reach a coverage target."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    goal: str
    """The target it serves, as `status` names it."""
    classes: dict[int, int] = Field({})
    """Classes of the generator to draw, and how often in each cycle; empty = as `dataset.latents`
    says."""
    min_area: dict[int, float] = Field({})
    """Minimum share of the mask by mask class: samples below are dropped as `coverage`."""
    best_by: int | None = None
    """Keep the samples of each shard's range with the largest share of this mask class, instead of
    the first ones; the others are dropped as `outranked`."""
    search: TargetSearch | None = None
    """How latents are searched; null = they are used as they are drawn."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A request to make one shard. It is self-contained: a worker reads nothing else."""

    dataset_id: str
    """The dataset the shard belongs to."""
    name: str
    """The shard's name without ending, e.g. `cells-000012`."""
    round_index: int
    """The round of the plan that it belongs to."""
    shard_index: int
    """Position among all shards of the dataset."""
    first_index: int
    """First sample index of the range this shard owns."""
    num_indices: int
    """Length of that range; at least `num_samples`."""
    num_samples: int
    """Samples to keep: the first accepted ones of the range."""
    steering: Steering | None = None
    """How its round differs from the `dataset` section; None = not at all."""
    cycle_offset: int = 0
    """Position of its first index in the cycle of `steering.classes`."""
    split: str = "train"
    """The split that all its samples belong to."""


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """A generator's input for a batch. A pure function of (dataset, indices)."""

    indices: Int64[np.ndarray, " n"]
    """Sample indices. Padding repeats the last index of the range."""
    z: Float[np.ndarray, "n z"]
    """Latents, standard normal unless the generator says otherwise."""
    class_labels: Int64[np.ndarray, " n"]
    """The generator's class of each sample; -1 for a generator without classes."""
    truncation_psi: float
    """Truncation: distance from the mean latent; 1 = none."""
    truncation_cutoff: int | None
    """Style rows below this are truncated; None = all."""
    noise_seed: int | None
    """Seed of per-sample noise maps; None = the checkpoint's own, or none at all."""


@dataclass(frozen=True, slots=True)
class Instances:
    """The objects of one image, on the host."""

    ids: UInt16[np.ndarray, "h w"]
    """Instance of each pixel, from 1; 0 = none."""
    class_ids: tuple[int, ...]
    """Class of each instance, an index into the dataset's instance classes."""
    boxes_xyxy: tuple[tuple[int, int, int, int], ...]
    """Smallest box around each instance's pixels: left, top, right and bottom, the latter two one
    past the last pixel."""
    scores: tuple[float, ...]
    """The detector's score, 0 to 1; 1 for connected components."""
    num_px: tuple[int, ...]
    """Pixels of each instance."""


@dataclass(frozen=True, slots=True)
class LayoutSearch:
    """How a sample with a wanted layout was found."""

    layout: str
    """Name of the layout."""
    iou: float
    """Mean IoU of its mask with the layout, 0 to 1, over the layout's classes."""
    start_iou: float
    """As `iou`, of the best candidate."""
    num_forwards: int
    """Images that were computed for it, itself included."""
    num_steps: int
    """Those of them that gradients were computed for."""


@dataclass(frozen=True, slots=True)
class EditFigures:
    """Figures of one edit; those of a region without pixels are 0."""

    painted_px: int
    """Pixels that were painted with another class than they had."""
    painted_before: float
    """Share of the painted pixels that had the wanted class, 0 to 1."""
    painted_after: float
    """Share of them that have it now."""
    painted_iou_before: float
    """Mean IoU of the mask with what was painted, over the painted classes and inside the painted region
    only, 0 to 1."""
    painted_iou_after: float
    """The same for the mask now."""
    inside_change: float
    """Mean change of colours where another class was painted, 0 to 255."""
    outside_change: float
    """Mean change of colours elsewhere, 0 to 255."""
    outside_class_change: float
    """Share of the pixels elsewhere that have another class now, 0 to 1."""


@dataclass(frozen=True, slots=True)
class SampleEdit:
    """A sample after its mask was edited; the sample itself is as before."""

    source: int
    """Index of the sample that was edited: its own, or one of another dataset."""
    image: UInt8[np.ndarray, "h w 3"]
    """The edited image, as `Sample.image`."""
    mask: UInt8[np.ndarray, "h w"]
    """Its mask."""
    class_px: tuple[int, ...]
    """Pixels of each class in it."""
    confidence: float
    """Confidence in it."""
    figures: EditFigures
    """What changed."""
    num_forwards: int
    """Images that were computed for the pair, both included."""
    num_steps: int
    """Those of them that gradients were computed for."""
    rgba: UInt8[np.ndarray, "h w 4"] | None = None
    """The edited image with its alpha; None for images without."""


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """Whole numbers about the pixels of a sample: its statistics are quotients of them."""

    hash_bits: int
    """Perceptual hash, 64 bits."""
    laplacian_sum: int
    """Sum of the image's Laplacian over the rows that are looked at."""
    laplacian_squares: int
    """Sum of its squares."""
    border_pairs: int
    """Neighbouring pixels of the mask that differ in class."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its mask and facts, on the host, ready to be encoded."""

    index: int
    """The sample's index; its key is the zero-padded form."""
    image: UInt8[np.ndarray, "h w 3"]
    """RGB, 0 to 255; an image with alpha lies on white."""
    mask: UInt8[np.ndarray, "h w"]
    """Class ids; 255 = ignore."""
    class_label: int
    """The generator's class, -1 for none."""
    confidence: float
    """Confidence in the mask, 0 to 1: the mean over its pixels without those of value 255, or its
    expected IoU."""
    class_px: tuple[int, ...]
    """Pixels of each class, by class id."""
    confidence_by_px: UInt8[np.ndarray, "h w"] | None = None
    """Confidence of each pixel times 255, 0 where no class claims it; None unless asked for."""
    alpha_by_px: UInt8[np.ndarray, "h w"] | None = None
    """The foreground's share of each pixel times 255; None unless asked for."""
    rejection: str = ""
    """Reason for which the segmenter rejects the mask; empty if it does not."""
    instances: Instances | None = None
    """Its objects; None if the dataset has none."""
    cleaned_px: int | None = None
    """Pixels of the mask that its clean-up changed; None if the dataset has none."""
    rgba: UInt8[np.ndarray, "h w 4"] | None = None
    """The same image with its alpha, which is stored in its place; None for images without."""
    agreement: float | None = None
    """Mean IoU of its mask with those of other methods, 0 to 1; None if there are none."""
    background: str = ""
    """What its object was put on: the key of a sample, or the name of a picture; empty in a dataset
    without composites."""
    search: LayoutSearch | None = None
    """How it was found; None if it was not searched."""
    edit: SampleEdit | None = None
    """The same sample after an edit; None in a dataset without edits."""
    latent_cell: int = -1
    """Cell of the latent space it was drawn from (`measure.latent_cells`); -1 = unknown."""
    counts: PixelCounts | None = None
    """Counted on the device that made it; None where whoever encodes it counts."""
