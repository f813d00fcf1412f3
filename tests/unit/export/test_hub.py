import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from factory.export import hub
from factory.export.hub import export_hub

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("per_file", [5000, 7])
def test_rows_are_images_for_the_hub_and_every_pair_is_there(
    source, expected, tmp_path, monkeypatch, per_file
):
    monkeypatch.setattr(hub, "_ROWS_PER_FILE", per_file)
    monkeypatch.setattr(hub, "_ROWS_PER_GROUP", 3)
    assert export_hub(source, tmp_path) == len(expected)
    rows = []
    for split in ("train", "val", "test"):
        files = sorted(tmp_path.glob(f"data/{split}-*.parquet"))
        assert [path.stem for path in files] == [
            f"{split}-{number:05d}-of-{len(files):05d}" for number in range(len(files))
        ]
        for path in files:
            table = pq.read_table(path)
            info = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
            assert list(info) == table.column_names
            assert info["image"] == info["mask"] == {"_type": "Image"}
            rows += [{"split": split, **row} for row in table.to_pylist()]
    assert [row["key"] for row in rows] == list(expected)
    for row in rows:
        example = expected[row["key"]]
        assert row["split"] == example.split
        assert row["confidence"] == example.facts.confidence
        image, mask = (Image.open(io.BytesIO(row[name]["bytes"])) for name in ("image", "mask"))
        assert (np.array(image) == example.sample.image).all()
        assert mask.mode == "L"
        assert (np.array(mask) == example.mask).all()


def test_the_card_and_the_labels_say_what_is_in_the_files(source, expected, tmp_path):
    export_hub(source, tmp_path)
    _, front, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    front = yaml.safe_load(front)
    counts = {part["name"]: part["num_examples"] for part in front["dataset_info"]["splits"]}
    assert sum(counts.values()) == len(expected)
    assert counts["train"] == 48
    kinds = {feature["name"]: feature["dtype"] for feature in front["dataset_info"]["features"]}
    assert kinds["image"] == kinds["mask"] == "image"
    assert front["configs"][0]["data_files"][1] == {"split": "val", "path": "data/val-*.parquet"}
    assert "| 2 | cluster_02 |" in text
    labels = json.loads((tmp_path / "id2label.json").read_text())
    assert labels == {str(n): f"cluster_0{n}" for n in range(4)}
