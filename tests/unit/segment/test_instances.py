import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from damage import replaced, rewrite
from small_job import make_small

from factory.care.verify import verify_dataset
from factory.pack.image import decode_instances, encode_instances, encode_mask
from factory.pack.tar import read_members
from factory.segment.objects.detectors import Detections
from factory.segment.objects.instances import boxed_instances, connected_instances
from factory.spec.style_mixing import InstancesSpec
from factory.store import open_store

MIXING = {
    "kind": "style_mixing",
    "stop_px": 32,
    "num_variants": 6,
    "instances": {"class_names": ["part"], "min_px": 8},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instances")
    overrides = {"dataset.oversample": 2, "dataset.encode.confidence": True}
    make_small(folder, {"dataset.segmenter": MIXING, **overrides})
    return folder / "out"


@pytest.fixture
def root(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def members(root, shard=1):
    return dict(read_members(root / f"data/train/tiny-{shard:06d}.tar"))


def problems_of(root):
    return [str(p) for p in verify_dataset(open_store(str(root)), deep=True).problems]


def test_small_parts_are_left_out_and_numbers_have_no_gap():
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = mask[2:4, 2:5] = mask[6:8, 6:8] = True
    found = connected_instances(mask, InstancesSpec(min_px=4))
    assert found.boxes_xyxy == ((2, 2, 5, 4), (6, 6, 8, 8))
    assert found.num_px == (6, 4)
    assert np.unique(found.ids).tolist() == [0, 1, 2]


def test_where_boxes_overlap_the_surer_one_owns_the_pixels():
    spec = InstancesSpec(class_names=["a", "b"], min_px=1)
    boxes = np.array([[0.0, 0, 6, 6], [3, 3, 8, 8], [-4, -4, 0, 0], [5, 5, 5.5, 99]])
    found = boxed_instances(
        np.zeros((8, 8, 3), np.uint8),
        Detections(boxes, np.array([0, 1, 0, 0]), np.array([0.7, 0.9, 0.99, 0.4])),
        spec,
        lambda _, box: np.pad(
            np.ones((box.rows.stop - box.rows.start, box.columns.stop - box.columns.start), bool),
            ((box.rows.start, 8 - box.rows.stop), (box.columns.start, 8 - box.columns.stop)),
        ),
    )
    assert found.class_ids == (1, 0)
    assert found.scores == (0.9, 0.7)
    assert found.num_px == (25, 36 - 9)
    assert found.ids[4, 4] == 1


def test_every_sample_has_its_instances_in_file_facts_and_table(root):
    files = members(root)
    keys = sorted({name.partition(".")[0] for name in files})
    rows = pq.read_table(root / "meta/train/tiny-000001.parquet").to_pylist()
    for key, row in zip(keys, rows, strict=True):
        assert [n for n in files if n.startswith(key)] == [
            f"{key}.{e}"
            for e in ("image.png", "mask.png", "confidence.png", "instances.png", "json")
        ]
        facts = json.loads(files[f"{key}.json"])
        ids = decode_instances(files[f"{key}.instances.png"])
        assert np.bincount(ids.ravel())[1:].tolist() == facts["instance_px"]
        assert row["instance_box_xyxy"] == facts["instance_box_xyxy"]
        assert facts["instance_score"] == [1.0] * len(facts["instance_px"])
    labels = json.loads((root / "labels.json").read_text())
    assert labels["instance_classes"] == ["part"]
    assert problems_of(root) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (encode_instances(np.zeros((32, 32), np.uint16)), "count other pixels per instance"),
        (encode_instances(np.ones((4, 4), np.uint16)), "and instances (4, 4) differ in size"),
        (encode_mask(np.zeros((32, 32), np.uint8)), "instances are 16-bit grey PNG"),
    ],
)
def test_damaged_instances_are_found(root, change, message):
    name = next(n for n in members(root) if n.endswith("instances.png"))
    rewrite(root, replaced(name, change))
    assert any(message in problem for problem in problems_of(root))


def test_a_mask_that_is_disowned_is_counted_by_its_reason(tmp_path):
    settings = MIXING | {"instances": None, "foreground": {"share": [0.3, 1]}}
    manifest = make_small(tmp_path, {"dataset.segmenter": settings, "dataset.oversample": 4})
    counts = [record.num_rejected for record in manifest.records]
    assert sum(count.get("foreground_too_small", 0) for count in counts) > 0
