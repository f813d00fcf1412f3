import pytest
from small_job import small_job

from factory.errors import JobError
from factory.make.class_names import check_class_names
from factory.segment.palette import unnamed_labels


def test_all_settings_that_name_classes_wrongly_are_told_in_one_round(tmp_path):
    wrong = {
        "dataset.segmenter.clean": {"keep": "largest", "classes": ["nope", 9]},
        "dataset.accept": {"class_share": {"zip": [0.1, 1], "zap": [0.1, 1]}},
        "dataset.compose": {"background": "other_sample", "classes": ["cat"]},
    }
    dataset = small_job(tmp_path, wrong).dataset
    has = "; the segmenter has classes 0 to 2: cluster_00, cluster_01, cluster_02"
    with pytest.raises(JobError) as caught:
        check_class_names(dataset, unnamed_labels(3))
    assert str(caught.value).splitlines() == [
        "3 settings do not fit the segmenter's classes",
        f"  dataset.accept.class_share: found classes zip and zap{has}",
        f"  dataset.compose.classes: found class cat{has}",
        f"  dataset.segmenter.clean.classes: found classes nope and 9{has}",
    ]


def test_a_single_wrong_setting_is_one_line_and_none_is_fine(tmp_path):
    edit = {"change": "grow", "of": "cat", "by_px": 1}
    with pytest.raises(JobError, match=r"^dataset\.edit\.of: found class cat; "):
        check_class_names(small_job(tmp_path, {"dataset.edit": edit}).dataset, unnamed_labels(3))
    clean = {"dataset.segmenter.clean": {"keep": "largest", "classes": [1]}}
    check_class_names(small_job(tmp_path, clean).dataset, unnamed_labels(3))
