import numpy as np
import pytest
from small_job import Witness, small_job

from factory.data import Sample
from factory.job import run_job
from factory.manifest.measure import measure_samples
from factory.run.blank import warn_of_blank
from factory.run.calibrate import calibrate

BLANK = {"dataset.generator": {"kind": "plugins.batches:Blank"}}


def sample(image):
    side = len(image)
    mask = np.zeros((side, side), np.uint8)
    return Sample(
        index=0, image=image, mask=mask, class_label=-1, confidence=1.0, class_px=(side**2,)
    )


def test_images_of_one_colour_are_told_unless_one_of_them_shows_something():
    blank = np.full((32, 32, 3), 255, np.uint8)
    shows = blank.copy()
    shows[8:16, 8:16] = 0
    assert warn_of_blank([]) == []
    assert warn_of_blank(measure_samples([sample(blank), sample(shows)])) == []
    (told,) = warn_of_blank(measure_samples([sample(blank), sample(blank // 2)]))
    assert told.startswith("the 2 images that were looked at are of one colour each: look at")


@pytest.mark.slow
def test_plan_and_run_tell_images_of_one_colour_and_no_others(tmp_path, caplog):
    for changes, count in ((BLANK, 1), ({}, 0)):
        spec = small_job(tmp_path / str(count), changes)
        warnings = calibrate(spec)["warnings"]
        assert sum("of one colour each" in line for line in warnings) == count
        caplog.clear()
        with caplog.at_level("WARNING"):
            assert run_job(spec, Witness()).num_samples == 13
        told = [r.getMessage() for r in caplog.records if "images_blank" in r.getMessage()]
        assert len(told) == count, "once, for the first shard"
