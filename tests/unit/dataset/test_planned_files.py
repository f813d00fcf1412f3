"""A file that is not the plan's is called by its name, and put right."""

import hashlib

import pytest
from small_job import make_small
from typer.testing import CliRunner

import factory.job
from factory.care.repair import find_repairs
from factory.care.verify import verify_dataset
from factory.cli.app import app
from factory.dataset.planned_files import (
    BACKGROUNDS,
    LAYOUTS,
    PLANNED_FILES,
    SEGMENTER,
    check_files,
    find_file_problems,
    planned_digests,
)
from factory.errors import DamageError, StoreError
from factory.manifest.paths import SEGMENTER_PATH
from factory.store import open_store


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "words"), [(b"", "empty"), (b"\0" * 99, "sha256 "), (b"short", "the plan says ")]
)
def test_a_run_names_a_damaged_segmenter_and_the_remedy_works(root, tmp_path, data, words):
    good = (root / SEGMENTER_PATH).read_bytes()
    (root / SEGMENTER_PATH).write_bytes(data)
    for num_samples in (13, 19):
        with pytest.raises(DamageError) as caught:
            make_small(tmp_path, {"dataset.num_samples": num_samples})
        text = str(caught.value)
        assert text.startswith(f"{root}/{SEGMENTER_PATH}: ")
        assert words in text
        assert text.endswith(
            f"`factory repair {root}` removes it, then run the job again: it is fitted anew"
        )
    result = CliRunner().invoke(app, ["replay", str(root), "000000003"])
    assert result.exit_code == 7
    assert "`factory repair" in result.stderr
    for step in find_repairs(open_store(str(root))):
        step.do()
    make_small(tmp_path, {"dataset.num_samples": 19})
    assert (root / SEGMENTER_PATH).read_bytes() == good
    assert verify_dataset(open_store(str(root)), deep=True, regenerate=19).problems == ()


def test_a_lost_segmenter_that_cannot_be_fitted_again_is_told_as_that(root, tmp_path, monkeypatch):
    (root / SEGMENTER_PATH).unlink()
    other = tmp_path / "other"
    make_small(other, {"dataset.segmenter.fit.num_images": 9})
    fitted = (other / "out" / SEGMENTER_PATH).read_bytes()
    monkeypatch.setattr(factory.job, "find_fitted", lambda *_: fitted)
    monkeypatch.setattr(factory.job, "finish_for", lambda _spec, _weights, data, *_, **__: data)
    with pytest.raises(StoreError) as caught:
        make_small(tmp_path)
    text = str(caught.value)
    assert "missing, and a fit on this machine gives another one" in text
    assert "restore the file" in text
    assert not (root / SEGMENTER_PATH).exists()


@pytest.mark.parametrize("identity", [{}, {"segmenter": {}}, {"segmenter": {"sha256": ""}}])
def test_a_method_without_a_fit_has_no_segmenter_to_miss(root, identity):
    (root / SEGMENTER_PATH).unlink()
    assert SEGMENTER.find_problem(open_store(str(root)), identity) is None


DIGEST = hashlib.sha256(b"whole").hexdigest()
IDENTITY = {
    "segmenter": {"sha256": DIGEST},
    "sampling": {"layouts_sha256": DIGEST},
    "compose": {"backgrounds_sha256": DIGEST},
    "agreement": {"opinions_sha256": DIGEST},
}


def test_every_planned_file_is_the_one_that_the_plan_names_or_told_missing_or_changed(tmp_path):
    store = open_store(str(tmp_path / "out"))
    assert planned_digests(IDENTITY) == dict.fromkeys(planned_digests({}), DIGEST)
    assert set(planned_digests({}).values()) == {""}
    check_files(store, IDENTITY, may_be_missing=True)
    problems = find_file_problems(store, IDENTITY)
    assert [problem.path for problem in problems] == [file.path for file in PLANNED_FILES]
    for file in PLANNED_FILES:
        with pytest.raises(DamageError, match="missing, though the plan names it"):
            file.check(store, IDENTITY)
        assert file.read(store, IDENTITY) == b""
        store.create(file.path, b"whole")
        file.check(store, IDENTITY)
        assert file.read(store, IDENTITY) == b"whole"
        store.replace(file.path, b"other")
        assert file.read(store, IDENTITY) == b""
        with pytest.raises(DamageError, match=rf"{file.path}: sha256 .*, the plan says"):
            file.check(store, IDENTITY, may_be_missing=True)


@pytest.mark.parametrize("file", [LAYOUTS, BACKGROUNDS])
def test_a_dataset_without_such_a_file_has_none_to_miss(tmp_path, file):
    store = open_store(str(tmp_path / "out"))
    for identity in ({}, {file.section: None}, {file.section: {file.key: ""}}):
        assert file.digest(identity) == ""
        assert file.find_problem(store, identity) is None
