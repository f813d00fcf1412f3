import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from outlines import painted

from factory.export.annotations import export_label_studio, export_yolo

pytestmark = pytest.mark.slow


def test_yolo_s_polygons_paint_the_masks_again(source, expected, tmp_path):
    assert export_yolo(source, tmp_path) == len(expected)
    document = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert document["names"] == {0: "cluster_01", 1: "cluster_02", 2: "cluster_03"}
    assert {name: document[name] for name in ("train", "val", "test")} == {
        name: f"images/{name}" for name in ("train", "val", "test")
    }
    assert "path" not in document, "YOLO takes a relative one for one of the folder it starts in"
    for key, example in expected.items():
        assert (tmp_path / document[example.split] / example.name).exists()
        regions = []
        for line in (tmp_path / f"labels/{example.split}/{key}.txt").read_text().splitlines():
            class_id, *numbers = line.split()
            corners = np.array(numbers, dtype=float).reshape(-1, 2)
            assert 0 <= corners.min() <= corners.max() <= 1
            regions.append((int(class_id) + 1, (corners * 32).tolist()))
        assert (painted((32, 32), regions) == example.mask).all()


def test_label_studio_s_tasks_paint_the_masks_again_and_use_names_of_its_config(
    source, expected, tmp_path
):
    assert export_label_studio(source, tmp_path) == len(expected)
    config = ElementTree.fromstring((tmp_path / "config.xml").read_text())
    ids = {label.get("value"): place for place, label in enumerate(config.iter("Label"), start=1)}
    assert list(ids) == ["cluster_01", "cluster_02", "cluster_03"]
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["key"] for task in tasks] == list(expected)
    for task in tasks:
        example = expected[task["data"]["key"]]
        assert (tmp_path / task["data"]["image"].partition("?d=")[2]).exists()
        (prediction,) = task["predictions"]
        regions = []
        for region in prediction["result"]:
            assert (region["original_width"], region["original_height"]) == (32, 32)
            (name,) = region["value"]["polygonlabels"]
            corners = (np.array(region["value"]["points"]) * 0.32).tolist()
            regions.append((ids[name], corners))
        assert (painted((32, 32), regions) == example.mask).all()
        assert len({region["id"] for region in prediction["result"]}) == len(regions)


@pytest.fixture
def ground_last(source):
    """A source whose last class is called background."""
    labels = list(source.manifest.meaning.labels)
    labels[-1] = labels[-1].model_copy(update={"name": "background"})
    meaning = source.manifest.meaning.model_copy(update={"labels": labels})
    return replace(source, manifest=source.manifest.model_copy(update={"meaning": meaning}))


def test_what_yolo_leaves_out_is_the_class_called_background(ground_last, expected, tmp_path):
    export_yolo(ground_last, tmp_path)
    names = yaml.safe_load((tmp_path / "data.yaml").read_text())["names"]
    assert names == {0: "cluster_00", 1: "cluster_01", 2: "cluster_02"}
    for key, example in expected.items():
        lines = (tmp_path / f"labels/{example.split}/{key}.txt").read_text().splitlines()
        drawn = {int(line.split()[0]) for line in lines}
        assert drawn == set(np.unique(example.mask).tolist()) - {3}


def test_label_studio_is_not_asked_to_correct_the_background(ground_last, tmp_path):
    export_label_studio(ground_last, tmp_path)
    config = ElementTree.fromstring((tmp_path / "config.xml").read_text())
    names = [label.get("value") for label in config.iter("Label")]
    assert names == ["cluster_00", "cluster_01", "cluster_02"]
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    results = [result for task in tasks for result in task["predictions"][0]["result"]]
    assert {result["value"]["polygonlabels"][0] for result in results} == set(names)
