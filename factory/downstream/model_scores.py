"""What a network scored: the content of the JSON of `factory eval model`."""

from pydantic import Field

from factory.downstream.intervals import Figure
from factory.manifest.labels import Facts, Name


class PartScores(Facts):
    """The scores of a class, or of several together."""

    name: Name
    """Its name."""
    classes: tuple[Name, ...]
    """The classes that it is made of."""
    num_pictures: int = Field(ge=0)
    """Pictures that show it, in the mask or in the answer."""
    num_true: int = Field(ge=0)
    """Pictures whose mask shows it; 0 = its scores tell of wrong answers alone."""
    iou: Figure
    """Intersection over union, mean over the pictures that show it."""
    iou_global: Figure
    """The same over the pixels of all pictures."""
    dice: Figure
    """Dice coefficient, mean over the pictures that show it."""
    dice_global: Figure
    """The same over the pixels of all pictures."""
    trimap: Figure
    """IoU within `trimap_px` of the part's true border, mean over the pictures that have one."""
    trimap_global: Figure
    """The same over the pixels of all pictures."""


class PictureScore(Facts):
    """The score of one picture."""

    key: str
    """Its name."""
    iou: dict[str, float | None]
    """IoU by part; null if neither mask nor answer shows it."""


class ModelScores(Facts):
    """The scores of a network on labelled pictures."""

    schema_version: int = 1
    """Version of this layout."""
    model: str
    """Name of the network's file."""
    dataset_id: str
    """The dataset it was trained on."""
    pictures: str
    """Where the pictures come from."""
    num_pictures: int = Field(ge=1)
    """Pictures that were scored."""
    num_matched_on: int = Field(ge=0)
    """Other pictures, on which the network's classes were matched greedily; 0 = by names."""
    protocol: str
    """The paper whose evaluation was followed, or `none`."""
    view: str
    """`whole` or `tiles`."""
    keep: str
    """Objects of an answer that stayed."""
    fill_holes: bool
    """Whether holes were filled."""
    trimap_px: int
    """Rows and columns from a true border within which the trimap's pixels lie."""
    matching: dict[str, str]
    """The class that each class of the network counted as."""
    parts: tuple[PartScores, ...]
    """Scores by part."""
    miou: Figure
    """Mean over the classes of their mean IoU over pictures."""
    miou_global: Figure
    """Mean over the classes of their IoU over all pixels."""
    miou_foreground: Figure
    """`miou` without the background."""
    miou_foreground_global: Figure
    """`miou_global` without the background."""
    accuracy: Figure
    """Share of pixels with the right class, mean over pictures."""
    figures: dict[str, Figure]
    """The figures that the protocol's paper reports, by their names there."""
    by_picture: tuple[PictureScore, ...]
    """The score of each picture, in order."""
