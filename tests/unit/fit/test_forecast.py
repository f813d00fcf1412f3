from dataclasses import replace

import pytest
import torch
from counted_work import AN_IMAGE, CountedWork
from fit_context import make_context
from small_job import small_job

from factory.fit.cost import Probe, fit_seconds
from factory.fit.klish import choose_pixels, fit_klish
from factory.fit.klish_forecast import forecast_seconds
from factory.fit.kmeans import fit_kmeans
from factory.fit.pixels.forecast import Rehearsal, SearchRounds, search_seconds
from factory.fit.pixels.sampling import Sampling
from factory.generate.base import load_generator

CPU = torch.device("cpu")
FIT = {"num_images": 48, "pixels_per_image": 256}
FITTERS = {"klish": fit_klish, "kmeans": fit_kmeans}


@pytest.fixture
def work(monkeypatch):
    return CountedWork(monkeypatch)


def probe_of(folder, segmenter, work, num_threads=1):
    dataset = small_job(folder, {"dataset.segmenter": segmenter}).dataset
    generator = load_generator(dataset.generator, None, device=CPU)
    return Probe(dataset, generator, CPU, num_threads, work)


@pytest.mark.slow
@pytest.mark.parametrize(
    "segmenter",
    [
        {"kind": "klish", "initial_clusters": 30},
        {"kind": "klish", "initial_clusters": 30, "layers": ["s16"]},
        {"kind": "klish", "initial_clusters": 30, "layers": ["s16"], "merging": "published"},
        {"kind": "kmeans", "num_clusters": 12},
        {"kind": "kmeans", "num_clusters": 40},
    ],
)
def test_as_much_work_is_foreseen_as_a_fit_does(tmp_path, segmenter, work):
    probe = probe_of(tmp_path, segmenter | {"fit": FIT}, work)
    with torch.inference_mode():
        foreseen = fit_seconds(probe, 0.0)
        before = work()
        fit = FITTERS[segmenter["kind"]]
        fit(probe.dataset.segmenter, make_context(tmp_path, probe.dataset, probe.generator))
    assert 1 / 1.5 < foreseen / (work() - before) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["klish", "kmeans"])
def test_threads_that_bring_nothing_promise_nothing(tmp_path, kind, work):
    probe = probe_of(tmp_path, {"kind": kind, "fit": FIT}, work)
    with torch.inference_mode():
        one, many = (fit_seconds(replace(probe, num_threads=n), 0.0) for n in (1, 8))
    assert many > 0.9 * one


def test_more_images_take_as_much_longer(tmp_path, work):
    seconds = []
    for count in (10**4, 10**6):
        fit = {"num_images": count, "pixels_per_image": 1}
        segmenter = {"kind": "kmeans", "num_clusters": 2, "fit": fit, "layers": ["s16"]}
        with torch.inference_mode():
            seconds.append(fit_seconds(probe_of(tmp_path, segmenter, work), 0.0))
    assert seconds[0] > 10**4 * AN_IMAGE
    assert 90 < seconds[1] / seconds[0] < 110


@pytest.mark.slow
def test_choosing_layers_takes_time_of_its_own(tmp_path, work):
    probe = probe_of(tmp_path, {"kind": "klish", "fit": FIT}, work)
    spec = probe.dataset.segmenter
    sampling = choose_pixels(spec, probe.generator.facts)
    named = spec.model_copy(update={"layers": list(sampling.layers)})
    with torch.inference_mode():
        chosen_s, named_s = (forecast_seconds(one, probe, sampling) for one in (spec, named))
    assert chosen_s - named_s > 64 * AN_IMAGE


def test_pixels_that_do_not_fit_the_rehearsal_count_too(tmp_path, work):
    probe = probe_of(tmp_path, {"kind": "klish"}, work)
    planes, columns = torch.zeros(1, 13), torch.zeros(1, dtype=torch.int64)
    seconds = []
    for places in (2**12, 2**16):
        with torch.inference_mode():
            rehearsal = Rehearsal(probe, Sampling(("s16",), (12,), 1024, places, 0))
            rehearsal.own(3)
            seconds.append(rehearsal.seconds("hinge", columns, planes))
            read_s = rehearsal.seconds("leads", torch.arange(3), 4096, most=4096)
        assert read_s == 16 * 4096 * 3
    assert seconds[1] == 16 * seconds[0] == 2 * 1024 * 2**16 * 12


def test_a_search_on_every_fourth_pixel_first_costs_a_quarter_of_its_rounds_more(tmp_path, work):
    probe = probe_of(tmp_path, {"kind": "klish"}, work)
    with torch.inference_mode():
        rehearsal = Rehearsal(probe, Sampling(("s16",), (12,), 64, 256, 0))
        rehearsal.own(3)
        plain, rough = (
            search_seconds(rehearsal, 1, SearchRounds(1.0, on_some=some, stride=4))
            for some in (0.0, 1.0)
        )
    assert rough == pytest.approx(1.25 * plain)
