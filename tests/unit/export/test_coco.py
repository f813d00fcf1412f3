import json
import shutil
import time

import numpy as np
import pytest
from damage import replaced, rewrite
from pycocotools.coco import COCO
from small_job import make_small
from typer.testing import CliRunner

from factory.care.verify import verify_dataset
from factory.cli.app import app
from factory.errors import JobError
from factory.export.coco import export_coco, run_lengths
from factory.export.examples import open_export
from factory.pack.image import decode_instances
from factory.pack.instances import boxes_of
from factory.pack.tar import read_members
from factory.store import open_store

pytestmark = pytest.mark.slow

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
    assert list(run_lengths(mask.astype(np.uint16))) == [[0, 2, 1, 1]]
    assert list(run_lengths((~mask).astype(np.uint16))) == [[2, 1, 1]]


def test_the_runs_of_several_instances_are_those_of_each_alone():
    ids = np.random.default_rng(0).integers(0, 5, (17, 13)).astype(np.uint16)
    for number, runs in enumerate(run_lengths(ids), start=1):
        values = np.repeat(np.arange(len(runs)) % 2, runs).reshape(ids.shape, order="F")
        assert np.array_equal(values, ids == number)
    assert number == 4
    assert list(run_lengths(np.zeros((3, 2), np.uint16))) == []


KEY = "000000010"
NUM = 2
WRONG = {
    "a box less": ({"instance_box_xyxy": [[0, 0, 4, 4]]}, "other numbers of instances"),
    "no classes": ({"instance_class": []}, "other numbers of instances"),
    "a class that has no name": ({"instance_class": [0, 9]}, "class 9; allowed: 0 to 0"),
    "a box turned round": ({"instance_box_xyxy": [[9, 9, 1, 1]] * NUM}, "other boxes"),
    "other pixels": ({"instance_px": [1, 2]}, "other pixels per instance"),
    "another sample's index": ({"index": 3}, "with index 3"),
    "another sample's key": ({"key": "000000003"}, "its facts name it 000000003"),
    "another size": ({"width": 1, "height": 4096}, "its facts say"),
    "another dataset's": ({"dataset_id": "x"}, "of dataset x"),
}


@pytest.mark.parametrize("name", WRONG)
def test_facts_that_lie_about_instances_are_damage_for_the_export_and_for_verify(
    root, tmp_path, name
):
    changes, words = WRONG[name]
    facts = json.loads(members(root)[f"{KEY}.json"])
    assert len(facts["instance_px"]) == NUM
    rewrite(root, replaced(f"{KEY}.json", json.dumps(facts | changes).encode()))
    result = CliRunner().invoke(app, ["export", "coco", str(root), "-o", str(tmp_path / "coco")])
    assert result.exit_code == 7, result.output
    assert words in result.output
    assert not (tmp_path / "coco/annotations.json").exists()
    problems = verify_dataset(open_store(str(root)), deep=True).problems
    assert [problem.sample for problem in problems if problem.kind == "contents"][:1] == [KEY]


def test_an_image_full_of_instances_takes_the_time_of_its_pixels():
    ids = np.repeat(np.arange(65_536, dtype=np.uint16), 16).reshape(1024, 1024)
    started = time.process_time()
    assert len(boxes_of(ids)) == len(list(run_lengths(ids))) == 65_535
    assert time.process_time() - started < 30  # one pass over the image for each would take minutes


def test_a_dataset_without_instances_says_how_to_have_them(tmp_path):
    make_small(tmp_path)
    with pytest.raises(JobError) as caught:
        export_coco(open_export(open_store(str(tmp_path / "out"))), tmp_path / "coco")
    assert str(caught.value).endswith(
        "has masks of classes, and `coco` is for single objects; export its classes with "
        "`coco-semantic`, `coco-polygons` or `coco-panoptic`; objects come from `segmenter.kind: "
        "style_mixing` with `instances`, in another dataset"
    )
