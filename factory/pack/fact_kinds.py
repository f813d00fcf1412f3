"""The kinds of facts about samples: those of every sample, and those a dataset may have beside them.

Every sample of a dataset has the same keys: see `facts.py`, which makes, writes and reads them.
"""

from typing import Annotated

from pydantic import Field

from factory.data import IGNORE
from factory.manifest.labels import Count, Facts, Name
from factory.pack.image import MOST_SIDE_PX
from factory.spec.settings import Fraction


class SampleFacts(Facts):
    """Facts about one sample."""

    key: str = Field(pattern=r"^[0-9]{9}$")
    """Name of the sample's files: its index, zero-padded."""
    index: Count
    """Sample index; together with the dataset's seed it determines the latent."""
    dataset_id: Name
    """The dataset the sample belongs to."""
    class_label: int = Field(ge=-1, lt=2**31)
    """The generator's class, -1 for none."""
    class_name: Name
    """Name of that class, empty for none."""
    confidence: Fraction
    """Confidence in the mask, 0 to 1: the mean over its pixels without those that no class claims, or
    the IoU that is to be expected of it (`dataset.segmenter.confidence`)."""
    width: int = Field(ge=1, le=MOST_SIDE_PX)
    """Pixels."""
    height: int = Field(ge=1, le=MOST_SIDE_PX)
    """Pixels."""
    class_px: list[Count] = Field(max_length=IGNORE)
    """Pixels of each mask class, by class id."""
    ignore_px: Count
    """Pixels of no class (mask value 255)."""


class InstanceFacts(SampleFacts):
    """Facts about a sample with instances; lists are ordered by instance id, starting with id 1.

    A dataset has instances in every sample or in none, so that keys stay constant.
    """

    instance_class: list[Count] = Field(max_length=2**16)
    """Class of each instance, an index into `instance_classes` of `labels.json`."""
    instance_box_xyxy: list[Annotated[list[Count], Field(min_length=4, max_length=4)]] = Field(
        max_length=2**16
    )
    """Smallest box of each: left, top, right and bottom, the latter two one past the last pixel."""
    instance_score: list[Fraction] = Field(max_length=2**16)
    """The detector's score of each, 0 to 1."""
    instance_px: list[Count] = Field(max_length=2**16)
    """Number of pixels of each in `KEY.instances.png`."""


class CleanedFacts(SampleFacts):
    """Facts about a sample whose mask was cleaned up: every sample of a dataset, or none."""

    cleaned_px: Count
    """Pixels of the mask that the clean-up changed."""


class LayoutFacts(SampleFacts):
    """Facts about a sample that was searched for a layout: every sample of a shard, or none."""

    layout: Name
    """Name of the wanted layout."""
    layout_iou: Fraction
    """Mean IoU of the mask with it, over the classes that it has."""
    start_iou: Fraction
    """The same for the best candidate, which the search began with."""
    forwards: Count
    """Images that were computed for this one, itself included."""
    steps: Count
    """Those of them that gradients were computed for, which takes as long as two more."""
    cleaned_px: int = Field(ge=-1)
    """Pixels of the mask that the clean-up changed, -1 for none."""


class ComparedFacts(SampleFacts):
    """Facts about a sample whose mask was compared: every sample of a dataset, or none."""

    agreement: Fraction
    """Mean IoU of the mask with those that other methods make of the same latent."""


class ComposedFacts(SampleFacts):
    """Facts about a composite: every sample of a dataset, or none."""

    background: Name
    """What its object lies on: the key of a sample, or the name of a picture."""


class EditFacts(SampleFacts):
    """Facts about a sample that was edited: every sample of a dataset, or none.

    Those of every sample are about the image and the mask before.
    """

    edited_from: str = Field(pattern=r"^[0-9]{9}$")
    """Key of the sample that was edited: its own, or one of the dataset that the masks belong to."""
    painted_px: Count
    """Pixels that were painted with another class than they had."""
    painted_before: Fraction
    """Share of the painted pixels that had the wanted class."""
    painted_after: Fraction
    """Share of them that have it after the edit."""
    painted_iou_before: Fraction
    """Mean IoU of the mask with what was painted, inside the painted region."""
    painted_iou_after: Fraction
    """The same for the edited mask."""
    inside_change: float = Field(ge=0, le=255)
    """Mean change of colours where another class was painted, of 255."""
    outside_change: float = Field(ge=0, le=255)
    """Mean change of colours elsewhere, of 255."""
    outside_class_change: Fraction
    """Share of the pixels elsewhere that have another class after the edit."""
    edited_confidence: Fraction
    """Confidence in the edited mask, as `confidence`."""
    edited_class_px: list[Count] = Field(max_length=IGNORE)
    """Pixels of each class in the edited mask, by class id."""
    edited_ignore_px: Count
    """Its pixels of no class."""
    forwards: Count
    """Images that were computed for the pair, both included."""
    steps: Count
    """Those of them that gradients were computed for, which takes as long as two more."""
    cleaned_px: int = Field(ge=-1)
    """Pixels of the mask that the clean-up changed, -1 for none."""
