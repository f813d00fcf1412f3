"""What is told of the costs of targets before anything is made."""

import dataclasses

import pytest
import torch
from small_job import small_job
from toy_head import ToyHead

from factory.cli.job import describe_target
from factory.errors import JobError
from factory.fit.cost import Probe
from factory.generate.base import load_generator
from factory.make.accept import AcceptRules
from factory.plan.search import SEARCH_IMAGES
from factory.run import target_costs
from factory.run.target_costs import measure_targets

CPU = torch.device("cpu")
ALL = AcceptRules(0.0, {})
KMEANS = {"kind": "kmeans", "num_clusters": 4, "layers": ["s32"], "fit": {"num_images": 32}}


def costs(tmp_path, min_samples, rules=ALL, **settings):
    overrides = {
        "dataset.batch_size": 8,
        "dataset.latents": {"truncation_psi": 0.7},
        "dataset.segmenter": KMEANS,
        "dataset.coverage": {"min_samples": min_samples, "budget": 900} | settings,
    }
    dataset = small_job(tmp_path, overrides).dataset
    toy = load_generator(dataset.generator, None, device=CPU)
    found = measure_targets(Probe(dataset, toy, CPU, 1), ToyHead(toy), rules)
    return {cost.name: cost for cost in found}


RARE = {"core": {"count": 40, "min_area": 0.075}}


@pytest.mark.slow
def test_a_rare_class_is_cheaper_by_search(tmp_path):
    (cost,) = costs(tmp_path, RARE).values()
    assert (cost.name, cost.wanted, cost.num_drawn) == ("core, area >= 7.5%", 40, 1024)
    assert SEARCH_IMAGES <= cost.by_search < cost.by_rejection
    assert cost.by_rejection > 100
    assert cost.way == "search"


def test_a_frequent_class_needs_no_search_and_is_not_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(target_costs, "LayoutSampler", None)  # to use it would fail
    found = costs(tmp_path, {"square": 40, "core": {"count": 9, "min_area": 0.05}})
    assert found["square"].by_rejection == 1.0
    assert 1 < found["core, area >= 5.0%"].by_rejection < 4
    assert {(cost.by_search, cost.way) for cost in found.values()} == {
        (float(SEARCH_IMAGES), "rejection")
    }
    assert found["square"].num_drawn < 64, "no more are drawn than are needed"


def test_images_that_the_job_rejects_do_not_count(tmp_path):
    plain = costs(tmp_path, {"square": 40})["square"].by_rejection
    half = AcceptRules(0.0, {1: (0.15, 1.0)})
    assert costs(tmp_path, {"square": 40}, half)["square"].by_rejection > 2 * plain


def test_a_class_that_is_not_seen_has_no_cost(tmp_path):
    (cost,) = costs(tmp_path, {"core": {"count": 9, "min_area": 0.5}}).values()
    assert (cost.by_rejection, cost.by_search, cost.way) == (None, None, "rejection")


def test_what_may_not_or_would_take_long_is_not_searched(tmp_path, monkeypatch):
    (cost,) = costs(tmp_path, RARE, search=False).values()
    assert (cost.by_search, cost.way) == (None, "rejection")
    monkeypatch.setattr(target_costs, "_SEARCH_S", 0.0)
    (cost,) = costs(tmp_path, RARE).values()
    assert (cost.by_search, cost.way) == (None, "rejection")
    monkeypatch.setattr(target_costs, "_DRAW_S", 0.0)
    (cost,) = costs(tmp_path, RARE).values()
    assert cost.num_drawn == 8, "nor does drawing"


def test_targets_of_other_kinds_have_no_costs(tmp_path):
    assert costs(tmp_path, {}, balance=None) == {}
    with pytest.raises(JobError, match=r"min_samples.ghost: no such class"):
        costs(tmp_path, {"ghost": 3})


def test_each_cost_is_a_line_of_the_plan(tmp_path):
    (cost,) = costs(tmp_path, {"square": 40}).values()
    line = describe_target(dataclasses.asdict(cost))
    assert line == (
        f"square: 1 images a pair by rejection, 70 or more by search ({cost.num_drawn} tried): rejection"
    )
    found = dataclasses.asdict(cost) | {"by_rejection": 251.6, "by_search": 93.3, "way": "search"}
    assert describe_target(found) == (
        f"square: 252 images a pair by rejection, 93 by search ({cost.num_drawn} tried): search"
    )
    none = found | {"by_rejection": None, "num_drawn": 1024}
    assert describe_target(none) == "square: in none of 1,024 images"
    unknown = found | {"by_search": None, "way": "rejection"}
    assert "252 images a pair by rejection, unknown by search" in describe_target(unknown)
