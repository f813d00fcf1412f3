import hashlib

import pytest
from small_job import EXACT_PARTS, small_job

from factory.dataset.planned_files import (
    BACKGROUNDS,
    LAYOUTS,
    OPINIONS,
    PLANNED_FILES,
    SEGMENTER,
)
from factory.errors import JobError
from factory.generate.weights.find import LocalWeights
from factory.manifest.labels import MaskClass
from factory.run.beside import digest_of_bytes, find_beside
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter
from factory.store import open_store


def beside(folder, overrides, fitted=b""):
    spec = small_job(folder, overrides)
    return find_beside(
        spec,
        LocalWeights(None, ""),
        fitted,
        on_progress=lambda *_: None,
        stop=None,
        store=open_store(spec.output.uri),
        theirs={},
    )


def test_every_planned_file_is_told_and_empty_where_a_dataset_has_none(tmp_path):
    found = beside(tmp_path, {"dataset.segmenter": EXACT_PARTS})
    assert found == {SEGMENTER: b"", LAYOUTS: b"", BACKGROUNDS: b"", OPINIONS: b""}
    assert tuple(found) == PLANNED_FILES
    assert digest_of_bytes(b"") == ""
    assert digest_of_bytes(b"x") == hashlib.sha256(b"x").hexdigest()


def test_a_class_that_a_fit_does_not_have_is_told_before_anything_is_planned(tmp_path):
    facts = SegmenterFacts(
        kind="kmeans",
        generator_kind="shapes",
        weights_sha256="",
        layers=[],
        labels=[MaskClass(id=0, name="c0", colour=(0, 0, 0))],
        margin_scale=1.0,
        fitted_on={},
    )
    fitted = encode_segmenter({}, facts)
    compose = {"background": "other_sample", "classes": ["cat"]}
    with pytest.raises(JobError, match=r"compose\.classes: found class cat"):
        beside(tmp_path, {"dataset.compose": compose}, fitted)
    clean = {"dataset.segmenter.clean": {"keep": "largest", "classes": ["dog"]}}
    with pytest.raises(JobError, match=r"clean\.classes: found class dog"):
        beside(tmp_path, clean, fitted)
