"""What samples must consist of follows from the plan and the label table alone."""

import json

import pytest
from small_job import make_small

from factory.dataset.expected import find_expected
from factory.dataset.state import find_plan
from factory.errors import DamageError, StoreError
from factory.store import open_store


def test_it_names_the_files_and_counts_the_classes(tmp_path):
    make_small(tmp_path, {"dataset.encode": {"image": "webp", "confidence": True}})
    store = open_store(str(tmp_path / "out"))
    expected = find_expected(store, find_plan(store))
    assert list(expected.endings) == ["image.webp", "mask.png", "confidence.png", "json"]
    assert expected.num_classes == 4


def test_without_labels_or_with_an_unknown_encoding_it_is_refused(tmp_path):
    make_small(tmp_path)
    store = open_store(str(tmp_path / "out"))
    plan = find_plan(store)
    (tmp_path / "out/labels.json").unlink()
    with pytest.raises(StoreError, match=r"labels\.json: missing"):
        find_expected(store, plan)
    path = tmp_path / "out/plan/round-0000.json"
    document = json.loads(path.read_text())
    document["identity"]["encode"] = {"image": "tiff"}
    plan.rounds[0].identity["encode"] = document["identity"]["encode"]
    with pytest.raises(DamageError, match="unknown encoding of samples"):
        find_expected(store, plan)
