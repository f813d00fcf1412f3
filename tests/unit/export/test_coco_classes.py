import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from small_job import make_small

from factory.export.coco_classes import (
    export_coco_panoptic,
    export_coco_polygons,
    export_coco_semantic,
)
from factory.export.examples import open_export
from factory.store import open_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def test_pycocotools_reads_the_exact_masks_of_classes(source, expected, tmp_path):
    assert export_coco_semantic(source, tmp_path) == len(expected)
    num_images = 0
    for split in ("train", "val", "test"):
        coco = COCO(str(tmp_path / f"annotations/{split}.json"))
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == source.class_names
        for image_id, facts in coco.imgs.items():
            example = expected[f"{image_id:09d}"]
            assert example.split == split
            assert (tmp_path / f"images/{split}/{facts['file_name']}").exists()
            again = np.full(example.mask.shape, 255, dtype=np.uint8)
            for annotation in coco.loadAnns(coco.getAnnIds(image_id)):
                inside = coco.annToMask(annotation).astype(bool)
                again[inside] = annotation["category_id"] - 1
                assert annotation["area"] == inside.sum()
                box = coco_mask.toBbox(coco.annToRLE(annotation))
                assert annotation["bbox"] == box.astype(int).tolist()
            assert (again == example.mask).all()
            num_images += 1
    assert num_images == len(expected)


def test_pycocotools_reads_polygons_that_fit_the_masks_but_for_holes(source, expected, tmp_path):
    export_coco_polygons(source, tmp_path)
    coco = COCO(str(tmp_path / "annotations/train.json"))
    for annotation in coco.loadAnns(coco.getAnnIds()):
        example = expected[f"{annotation['image_id']:09d}"]
        inside = example.mask == annotation["category_id"] - 1
        read = coco.annToMask(annotation).astype(bool)
        assert not (inside & ~read).any()
        assert annotation["area"] == inside.sum()


def read_panoptic(folder, split):
    document = json.loads((folder / f"annotations/{split}.json").read_text())
    for annotation in document["annotations"]:
        with Image.open(folder / f"panoptic/{split}/{annotation['file_name']}") as picture:
            colours = np.array(picture).astype(np.int64)
        yield document, annotation, colours @ np.array([1, 256, 65536])


def test_panoptic_segments_are_the_classes(source, expected, tmp_path):
    assert export_coco_panoptic(source, tmp_path) == len(expected)
    for _, annotation, ids in read_panoptic(tmp_path, "train"):
        example = expected[f"{annotation['image_id']:09d}"]
        segments = {s["id"]: s for s in annotation["segments_info"]}
        assert set(np.unique(ids)) == set(segments)
        for segment, facts in segments.items():
            assert (example.mask[ids == segment] == facts["category_id"] - 1).all()
            assert facts["area"] == (ids == segment).sum()


def test_panoptic_objects_come_before_classes(tmp_path):
    mixing = {
        "kind": "style_mixing",
        "stop_px": 32,
        "num_variants": 6,
        "instances": {"class_names": ["part"], "min_px": 8},
    }
    make_small(tmp_path, {"dataset.segmenter": mixing, "dataset.oversample": 2})
    source = open_export(open_store(str(tmp_path / "out")))
    examples = {example.key: example for example in source}
    export_coco_panoptic(source, tmp_path / "coco")
    num_things = 0
    for document, annotation, ids in read_panoptic(tmp_path / "coco", "train"):
        categories = {c["id"]: c for c in document["categories"]}
        example = examples[f"{annotation['image_id']:09d}"]
        for segment in annotation["segments_info"]:
            category = categories[segment["category_id"]]
            if category["isthing"]:
                num_things += 1
                number = segment["id"] - 256
                assert (example.instances[ids == segment["id"]] == number).all()
                assert segment["area"] == example.facts.instance_px[number - 1]
            else:
                name = source.class_names[segment["id"] - 1]
                assert category["name"] == name
    assert num_things > 0
