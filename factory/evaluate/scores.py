"""The scores of a dataset's masks, as types."""

from dataclasses import dataclass
from typing import Literal

Match = Literal["greedy", "names"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of masks and reference over one set of classes."""

    ari: float
    """Adjusted Rand index. This and the next four need no matching and use all samples."""
    ami: float
    """Adjusted mutual information."""
    v_measure: float
    """Harmonic mean of the next two."""
    homogeneity: float
    """1 = every cluster contains pixels of one class only."""
    completeness: float
    """1 = every class is contained in one cluster."""
    pixel_accuracy: float
    """Share of pixels with the correct class."""
    miou_per_image: float
    """Mean over classes of the IoU averaged over the images whose reference shows the class."""
    miou_global: float
    """Mean over classes of the IoU over the pixels of all images."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class of the reference."""

    id: int
    """Its id in the reference."""
    name: str
    """Its name; the id if the reference has no names."""
    share: float
    """Share of the scored pixels that have this class in the reference."""
    iou_per_image: float
    """IoU averaged over the images whose reference shows it."""
    iou_global: float
    """IoU over the pixels of all images."""
    clusters: tuple[str, ...]
    """The dataset's classes that are matched to it."""


@dataclass(frozen=True, slots=True)
class MaskScores:
    """All scores of a dataset's masks against a reference."""

    num_samples: int
    """Samples for which the reference has a mask."""
    num_ignored_px: int
    """Pixels excluded because either side is 255."""
    match: Match
    """How clusters were matched to classes."""
    num_matched_on: int
    """Samples the matching was fitted on; 0 if names were matched."""
    num_scored: int
    """Samples for accuracy and IoU, disjoint from those the matching was fitted on."""
    background: str
    """The class excluded from `foreground`; empty if there is none."""
    all_classes: Agreement
    """Over all classes."""
    foreground: Agreement | None
    """Over the pixels and classes that are not background in the reference; None if there are none."""
    classes: tuple[ClassScore, ...]
    """Each class that the reference shows in the scored samples."""
    unassigned: tuple[str, ...]
    """The dataset's classes that are matched to no class; their pixels count as wrong."""
