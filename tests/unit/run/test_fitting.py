import threading

import pytest
from painting import paint, painted_section
from small_job import Witness, small_job

from factory.run.fitting import find_or_fit, must_distribute


@pytest.fixture
def pictures(tmp_path):
    return paint(tmp_path / "painted")


def test_a_fit_that_needs_the_generator_is_never_spread_over_workers(tmp_path, pictures):
    run_spec = {"executor": "ray", "address": "auto", "num_actors": 8}
    big = {"kind": "kmeans", "num_clusters": 200, "fit": {"num_images": 2000, "memory_gib": 64}}
    jobs = [
        small_job(tmp_path, {"dataset.segmenter": segmenter, "run": run_spec})
        for segmenter in (painted_section(pictures), big)
    ]
    assert [must_distribute(job) for job in jobs] == [False, True]


def test_a_small_fit_goes_to_the_cluster_if_only_the_cluster_has_gpus(tmp_path, pictures):
    run_spec = {"executor": "ray", "address": "auto", "num_actors": 8, "gpus_per_actor": 1}
    small = {"kind": "kmeans"}
    jobs = [
        small_job(tmp_path, {"dataset.segmenter": segmenter, "run": run_spec})
        for segmenter in (painted_section(pictures), small)
    ]
    assert [must_distribute(job) for job in jobs] == [False, True]
    on_cpus = {"dataset.segmenter": small, "run": run_spec | {"gpus_per_actor": 0}}
    assert not must_distribute(small_job(tmp_path, on_cpus))


def test_what_was_fitted_is_found_again_and_said_to_be(tmp_path):
    fit = {"num_images": 8, "seed": 77}
    spec = small_job(tmp_path, {"dataset.segmenter": {"kind": "kmeans", "fit": fit}})
    first, second = (find_or_fit(spec, Witness(), threading.Event()) for _ in range(2))
    assert (first.is_new, second.is_new) == (True, False)
    assert first.fitted == second.fitted
