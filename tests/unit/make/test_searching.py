"""The search of a batch: that of the dataset, of the round, or none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_job import small_job
from toy_head import ToyHead

from factory.data import Steering, TargetSearch
from factory.edit.layouts import make_layouts
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.make.searching import Searches
from factory.plan.rounds import make_plan

CPU = torch.device("cpu")
LAYOUT = np.full((32, 32), 1, np.uint8)


@pytest.fixture
def parts(tmp_path):
    dataset = small_job(tmp_path).dataset
    toy = load_generator(dataset.generator, None, device=CPU)
    return dataset, toy, ToyHead(toy), LatentSampler(toy, dataset.latents, dataset.generator)


def a_task(tmp_path, search):
    round_ = make_plan(small_job(tmp_path), {"a": 1}).rounds[0]
    steering = Steering(goal="x", search=search)
    return round_.model_copy(update={"steering": steering}).task(0)


def test_a_dataset_without_layouts_searches_only_in_rounds_that_ask_for_it(parts, tmp_path):
    asked = []

    def read(indices, split):
        asked.append((*indices, split))
        return make_layouts([(str(index), LAYOUT) for index in indices])

    searches = Searches(*parts, None, read)
    assert searches.of(None) is None
    assert searches.of(a_task(tmp_path, None)) is None
    first = a_task(tmp_path, TargetSearch(layouts=(3, 9), candidates=2, steps=3))
    found = searches.of(first)
    assert found.layouts.names == ("3", "9")
    made = found.find(parts[3].draw(range(2)), CPU)
    assert (made.num_forwards, made.num_steps) == (2 + 3 + 2, 3)
    assert searches.of(first) is found, "the layouts of a round are read once"
    searches.of(a_task(tmp_path, TargetSearch(layouts=(4,))))
    assert asked == [(3, 9, "train"), (4, "train")]


def test_each_split_of_a_round_has_its_own_layouts_or_none(parts, tmp_path):
    held = {"train": (3,), "val": (9,)}

    def read(indices, split):
        inside = [index for index in indices if index in held.get(split, ())]
        return make_layouts([(str(index), LAYOUT) for index in inside]) if inside else None

    searches = Searches(*parts, None, read)
    task = a_task(tmp_path, TargetSearch(layouts=(3, 9)))
    names = {}
    for split in ("train", "val", "test", "train"):
        search = searches.of(replace(task, split=split))
        names[split] = search and search.layouts.names
    assert names == {"train": ("3",), "val": ("9",), "test": None}


def test_a_dataset_with_layouts_searches_every_sample(parts, tmp_path):
    wanted = {"kind": "layout", "layouts": "x", "candidates": 2, "steps": 3}
    dataset = small_job(tmp_path, {"dataset.sampling": wanted}).dataset
    layouts = make_layouts([("one", LAYOUT)])
    searches = Searches(dataset, *parts[1:], layouts, None)
    assert searches.of(None).layouts is layouts
    assert searches.of(a_task(tmp_path, None)) is searches.of(None)
