import sys
from types import ModuleType

import pytest
import torch
from painting import paint, painted_section
from small_job import small_job

from factory.errors import FactoryError, JobError
from factory.job import run_job
from factory.run.calibrate import calibrate
from factory.segment.segmenter_file import read_segmenter
from factory.spec import Method


@pytest.fixture
def pictures(tmp_path):
    return paint(tmp_path / "painted")


def test_a_plan_says_what_it_does_not_know_of_a_method_without_a_cost(tmp_path, pictures):
    with torch.inference_mode():
        told = calibrate(
            small_job(tmp_path, {"dataset.segmenter": painted_section(pictures, seed=5)})
        )
    assert told["fit_s"] is None
    assert told["pairs_per_s"] > 0


def test_a_method_whose_file_nobody_can_guess_is_timed_after_its_fit(tmp_path, monkeypatch):
    module = ModuleType("odd_method")
    module.Segmenter = lambda spec, fitted, *_: read_segmenter(fitted)[0]["a tensor of its own"]
    module.METHOD = Method(segmenter="odd_method:Segmenter", fitter="odd_method:fit")
    module.fit = None
    monkeypatch.setitem(sys.modules, "odd_method", module)
    module.__file__ = __file__
    with torch.inference_mode(), pytest.raises(FactoryError) as caught:
        calibrate(small_job(tmp_path, {"dataset.segmenter": {"kind": "odd_method:METHOD"}}))
    assert str(caught.value) == (
        "segmenter 'odd_method:METHOD': cannot be timed before it is fitted, for its method names no "
        "cost (KeyError: 'a tensor of its own'); run `factory fit` first"
    )


def test_features_that_are_no_numbers_end_a_plan_as_they_end_a_run(tmp_path):
    spec = small_job(tmp_path, {"dataset.generator": {"kind": "plugins.batches:Overflowing"}})
    for refuse in (calibrate, run_job):
        with pytest.raises(JobError, match=r"NaN"):
            refuse(spec)
