"""The formats that datasets are exported to, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from factory.export.annotations import export_label_studio, export_yolo
from factory.export.coco_classes import (
    export_coco_panoptic,
    export_coco_polygons,
    export_coco_semantic,
)
from factory.export.dali import export_dali
from factory.export.examples import Exported
from factory.export.folders import export_folders, export_nnunet, export_voc
from factory.export.hub import export_hub


@dataclass(frozen=True, slots=True)
class Format:
    """One format."""

    write: Callable[[Exported, Path], int]
    """Writes a dataset into a folder; returns the number of images."""
    help: str
    """What it writes, and who reads it."""
    has_edits: bool = False
    """Whether it writes what edited samples are after their edit, too."""
    has_ground: bool = True
    """Whether it also writes the class that counts as ground."""


FORMATS = {
    "folders": Format(
        export_folders,
        "images/, masks/ and classes.txt: mmseg, FiftyOne, fastai, MONAI",
        has_edits=True,
    ),
    "nnunet": Format(export_nnunet, "an nnU-Net raw dataset"),
    "voc": Format(export_voc, "Pascal VOC with palette masks: CVAT"),
    "hf": Format(
        export_hub, "Parquet with images and id2label: Hugging Face datasets", has_edits=True
    ),
    "yolo": Format(export_yolo, "polygons: YOLO", has_ground=False),
    "coco-semantic": Format(export_coco_semantic, "a run-length mask per class: pycocotools"),
    "coco-polygons": Format(export_coco_polygons, "polygons per class, without holes"),
    "coco-panoptic": Format(export_coco_panoptic, "COCO panoptic"),
    "label-studio": Format(
        export_label_studio, "polygons to correct: Label Studio", has_ground=False
    ),
    "dali": Format(export_dali, "index files for the tars: NVIDIA DALI", has_edits=True),
}
"""All formats but `coco`, which is about objects."""
