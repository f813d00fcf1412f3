import pytest
from small_job import EXACT_PARTS, small_job

from factory.errors import JobError, PluginError
from factory.generate.weights.find import LocalWeights
from factory.run.opinions import check_others, find_opinions, job_of_other

WEIGHTS = LocalWeights(None, "")


def job(folder, method):
    return small_job(folder, {"dataset.agreement": {"others": [{"method": method}]}})


def found(spec, stored=b""):
    return find_opinions(spec, WEIGHTS, b"", on_progress=lambda *_: None, stop=None, stored=stored)


def test_what_a_dataset_has_is_taken_and_a_job_without_others_has_none(tmp_path):
    assert found(small_job(tmp_path)) == b""
    assert found(job(tmp_path, EXACT_PARTS), stored=b"there") == b"there"


def test_each_other_method_is_a_job_of_its_own_for_the_same_generator(tmp_path):
    spec = job(tmp_path, {"kind": "kmeans", "num_clusters": 3})
    other = job_of_other(spec, 0)
    assert other.dataset.segmenter.num_clusters == 3
    assert other.dataset.agreement is None
    assert other.dataset.generator == spec.dataset.generator


def test_a_method_that_is_not_there_is_told_before_anything_is_fitted(tmp_path):
    check_others(small_job(tmp_path).dataset)
    check_others(job(tmp_path, EXACT_PARTS).dataset)
    with pytest.raises((JobError, PluginError), match="no_such_module"):
        check_others(job(tmp_path, {"kind": "no_such_module:Thing"}).dataset)
