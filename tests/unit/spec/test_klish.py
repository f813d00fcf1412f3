"""KLiSH's settings: what cannot stand together, and what a rule means for the fit's data."""

import pytest
from pydantic import ValidationError

from factory.spec import FitSpec, KlishSpec


def test_the_published_rule_is_fitted_on_the_data_it_was_published_with():
    assert KlishSpec(merging="published").fit.pixels_per_image == "auto"
    assert KlishSpec().fit.pixels_per_image == 256
    given = FitSpec(num_images=3, pixels_per_image=5)
    assert KlishSpec(merging="published", fit=given).fit == given


def test_labels_define_the_classes_so_that_a_cut_cannot_stand_beside_them():
    labels = {"tree": "0" * 16, "labels": [
        {"name": "a", "colour": "#000000", "nodes": [0]},
        {"name": "b", "colour": "#ffffff", "nodes": [1]},
    ]}  # fmt: skip
    assert KlishSpec(labels=labels).cut == "auto"
    with pytest.raises(ValidationError, match="leave out `cut`"):
        KlishSpec(labels=labels, cut=2)


def test_a_path_of_labels_is_for_job_files():
    with pytest.raises(ValidationError, match="a path is allowed in job files only"):
        KlishSpec(labels="labels.yaml")


def test_no_more_classes_are_cut_than_there_are_clusters():
    assert KlishSpec(cut=5, initial_clusters=5).cut == 5
    with pytest.raises(ValidationError, match="`cut` asks for 6 classes of 5 `initial_clusters`"):
        KlishSpec(cut=6, initial_clusters=5)
    # A fitted file has clusters of its own, so that their number here says nothing.
    assert KlishSpec(cut=200, fitted="tree.safetensors").cut == 200


@pytest.mark.parametrize(
    "wrong",
    [{"cut": 1}, {"cut": 256}, {"initial_clusters": 2}, {"merging": "other"}, {"fitted": ""}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        KlishSpec(**wrong)
