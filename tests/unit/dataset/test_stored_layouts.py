import hashlib

import pytest

from factory.dataset.stored_layouts import check_layouts, find_layouts_problem, layouts_digest
from factory.errors import DamageError
from factory.manifest.paths import LAYOUTS_PATH
from factory.store import open_store

DIGEST = hashlib.sha256(b"layouts").hexdigest()
IDENTITY = {"sampling": {"layouts_sha256": DIGEST}}


def test_only_a_dataset_that_was_searched_has_layouts(tmp_path):
    store = open_store(str(tmp_path / "out"))
    assert layouts_digest(IDENTITY) == DIGEST
    for identity in ({}, {"sampling": None}, {"sampling": {"layouts_sha256": 3}}):
        assert layouts_digest(identity) == ""
        assert find_layouts_problem(store, identity) is None


def test_layouts_are_the_ones_that_the_plan_names_or_told_missing_or_changed(tmp_path):
    store = open_store(str(tmp_path / "out"))
    check_layouts(store, IDENTITY, may_be_missing=True)
    with pytest.raises(DamageError, match="missing, though the plan names it"):
        check_layouts(store, IDENTITY)
    store.create(LAYOUTS_PATH, b"layouts")
    check_layouts(store, IDENTITY)
    store.replace(LAYOUTS_PATH, b"others")
    with pytest.raises(DamageError, match=r"layouts\.tar: sha256 .*, the plan says"):
        check_layouts(store, IDENTITY, may_be_missing=True)
