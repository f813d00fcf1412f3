import numpy as np
import pytest
from small_job import small_job

from factory.data import Sample
from factory.errors import JobError
from factory.manifest.labels import MaskClass
from factory.run.edits import check_count, check_edit, make_change_of, pretend_edit

LABELS = [MaskClass(id=place, name=name, colour=(0, 0, 0)) for place, name in enumerate("ab")]


def dataset_of(folder, **settings):
    return small_job(folder, {"dataset.edit": settings}).dataset


def sample(mask):
    pixels = np.array(mask, np.uint8)
    return Sample(3, np.zeros((*pixels.shape, 3), np.uint8), pixels, -1, 1.0, (1, 1))


def test_a_class_is_looked_up_and_masks_have_no_rule(tmp_path):
    with pytest.raises(JobError, match=r"dataset\.edit\.of: found class c; the segmenter has"):
        make_change_of(dataset_of(tmp_path, change="grow", of="c"), LABELS)
    assert make_change_of(dataset_of(tmp_path, masks="m", dataset="d"), LABELS) is None
    assert make_change_of(small_job(tmp_path).dataset, LABELS) is None


def test_a_sample_in_which_nothing_changes_is_known_before_it_is_edited(tmp_path):
    change = make_change_of(dataset_of(tmp_path, change="grow", of="b"), LABELS)
    assert pretend_edit(sample([[0, 1]]), change).rejection == ""
    assert pretend_edit(sample([[0, 0]]), change).rejection == "nothing_to_edit"
    assert pretend_edit(sample([[0, 0]]), None).rejection == ""


def test_there_is_a_mask_for_each_pair(tmp_path):
    dataset = dataset_of(tmp_path, masks="m", dataset="d")
    check_count(dataset, 13)
    with pytest.raises(JobError, match=r"num_samples: found 13, but dataset\.edit\.masks has 12"):
        check_count(dataset, 12)


def test_a_folder_that_is_not_there_is_told_before_the_dataset_is_opened(tmp_path):
    with pytest.raises(JobError, match="gone: does not exist; give a folder of masks"):
        check_edit(dataset_of(tmp_path, masks=str(tmp_path / "gone"), dataset="d"))
