import io
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO
from small_job import make_small
from typer.testing import CliRunner

from factory.care.verify import verify_dataset
from factory.cli.app import app
from factory.data import Instances, Sample
from factory.errors import StoreError
from factory.export.coco import export_coco, run_lengths
from factory.pack.facts import InstanceFacts, make_facts
from factory.pack.image import decode_instances, encode_instances, encode_mask
from factory.pack.tar import read_members
from factory.segment.objects.detectors import Detections
from factory.segment.objects.instances import boxed_instances, connected_instances
from factory.spec.style_mixing import InstancesSpec
from factory.store import open_store
from unit.care.test_verify import replaced, rewrite

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


@pytest.mark.parametrize("largest", [0, 1, 255, 256, 65535])
def test_ids_of_sixteen_bits_survive_the_file(largest):
    ids = np.linspace(0, largest, 35).astype(np.uint16).reshape(5, 7)
    data = encode_instances(ids)
    assert np.array_equal(decode_instances(data), ids)
    assert Image.open(io.BytesIO(data)).mode == "I;16"


def test_a_mask_is_no_instance_file():
    with pytest.raises(ValueError, match="found PNG mode L; instances are 16-bit grey PNG"):
        decode_instances(encode_mask(np.zeros((3, 3), np.uint8)))


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


def test_facts_have_lists_for_instances_even_if_there_are_none():
    empty = Instances(np.zeros((2, 3), np.uint16), (), (), (), ())
    image, mask = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.uint8)
    sample = Sample(1, image, mask, -1, 0.5, (6,), instances=empty)
    facts = make_facts(sample, dataset_id="d" * 16, class_names=())
    assert isinstance(facts, InstanceFacts)
    assert (facts.instance_class, facts.instance_box_xyxy, facts.instance_px) == ([], [], [])


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


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_the_export_back(root, tmp_path):
    result = CliRunner().invoke(app, ["export", "coco", str(root), "-o", str(tmp_path / "coco")])
    assert result.exit_code == 0, result.output
    coco = COCO(str(tmp_path / "coco/annotations.json"))
    assert f"wrote {len(coco.imgs)} images and {len(coco.anns)} objects" in result.output
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["part"]
    for shard in range(3):
        files = members(root, shard)
        for key in sorted({name.partition(".")[0] for name in files}):
            facts = json.loads(files[f"{key}.json"])
            ids = decode_instances(files[f"{key}.instances.png"])
            found = coco.loadAnns(coco.getAnnIds([facts["index"]]))
            assert len(found) == len(facts["instance_px"])
            for number, one in enumerate(found, start=1):
                assert np.array_equal(coco.annToMask(one).astype(bool), ids == number)
                assert one["area"] == (ids == number).sum()
                rows, columns = np.nonzero(ids == number)
                assert one["bbox"][:2] == [columns.min(), rows.min()]
                assert one["bbox"][2:] == [np.ptp(columns) + 1, np.ptp(rows) + 1]
            image = coco.loadImgs([facts["index"]])[0]
            data = (tmp_path / "coco/images" / image["file_name"]).read_bytes()
            assert data == files[f"{key}.image.png"]


def test_a_run_begins_with_zeros_even_if_there_are_none():
    mask = np.array([[1, 0], [1, 1]], bool)
    assert run_lengths(mask) == [0, 2, 1, 1]
    assert run_lengths(~mask) == [2, 1, 1]


def test_a_dataset_without_instances_says_how_to_have_them(tmp_path):
    make_small(tmp_path)
    with pytest.raises(StoreError) as caught:
        export_coco(open_store(str(tmp_path / "out")), tmp_path / "coco")
    assert str(caught.value).endswith(
        "has no instances to export; set dataset.segmenter.instances and make the dataset anew in "
        "another output.uri"
    )


def test_a_mask_that_is_disowned_is_counted_by_its_reason(tmp_path):
    settings = MIXING | {"instances": None, "foreground": {"share": [0.3, 1]}}
    manifest = make_small(tmp_path, {"dataset.segmenter": settings, "dataset.oversample": 4})
    counts = [record.num_rejected for record in manifest.records]
    assert sum(count.get("foreground_too_small", 0) for count in counts) > 0
