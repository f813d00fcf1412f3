import json
import shutil

import numpy as np
import pytest
from pycocotools.coco import COCO
from small_job import make_small
from typer.testing import CliRunner

from factory.cli.app import app
from factory.errors import StoreError
from factory.export.coco import export_coco, run_lengths
from factory.pack.image import decode_instances
from factory.pack.tar import read_members
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
