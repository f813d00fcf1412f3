import pytest
import torch
from contract.test_generators import build
from small_job import EXACT_PARTS, small_job

from factory.fit.cost import Probe
from factory.run.opinions import NUM_IMAGES
from factory.run.other_cost import probe_others

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def probe(folder, *methods, **accept):
    overrides = {"dataset.accept": accept}
    if methods:
        overrides["dataset.agreement"] = {"others": [{"method": method} for method in methods]}
    return Probe(small_job(folder, overrides).dataset, build("shapes"), CPU, 1)


def test_without_other_methods_there_is_no_cost(tmp_path):
    alone = probe(tmp_path)
    cost = probe_others(alone, "")
    assert (cost.opinions, cost.fit_s(alone, 3.0)) == ((), 0.0)


def test_matching_classes_takes_its_images_and_a_fit_its_own_time(tmp_path):
    fitted, unfitted = probe(tmp_path, EXACT_PARTS), probe(tmp_path, {"kind": "kmeans"})
    matching = NUM_IMAGES * 3.0 / 3
    assert probe_others(fitted, "").fit_s(fitted, 3.0) == pytest.approx(matching)
    cost = probe_others(unfitted, "")
    assert len(cost.unfitted) == 1
    assert cost.fit_s(unfitted, 3.0) > matching


def test_a_threshold_of_agreement_is_said_to_be_no_part_of_the_forecast(tmp_path):
    assert not probe_others(probe(tmp_path, EXACT_PARTS), "").warnings
    (warning,) = probe_others(probe(tmp_path, EXACT_PARTS, min_agreement=0.5), "").warnings
    assert "accept.min_agreement" in warning
