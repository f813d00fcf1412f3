"""Layouts, edits, composites, splits, agreement and each method on Ray: the bytes of `inline`.

`python -m pytest tests/long/test_on_ray.py`: three minutes. That Ray changes no byte of a dataset is in
CI (`tests/fault/test_same_bytes.py`): what these makings add to a worker's configuration is here.
"""

from typing import Any

import pytest
from fault.lab import Lab
from painted import generated_pictures, linear_section, painted_folder
from small_job import small_job
from unit import (
    test_agreement_job,
    test_compose_job,
    test_edit_job,
    test_layout_job,
    test_split_job,
)
from unit.test_edit_job import plain  # noqa: F401 - a fixture

import factory
from factory.job import run_job

ON_RAY = {"run": {"executor": "ray", "num_actors": 2}}


def assert_same(folder, count):
    """Of the run here, and of that on Ray, all archives."""
    here, there = (sorted((folder / place).rglob("*.tar")) for place in ("out", "ray"))
    assert len(here) == count
    for one, other in zip(here, there, strict=True):
        assert one.read_bytes() == other.read_bytes()


def elsewhere(document, folder):
    return document | {"output": {"uri": str(folder / "ray")}}


def test_layouts(tmp_path):
    layout_job = test_layout_job.layout_job
    test_layout_job.run(layout_job(tmp_path))
    test_layout_job.run(elsewhere(layout_job(tmp_path, overrides=ON_RAY), tmp_path))
    assert_same(tmp_path, 4)  # three shards and the layouts


def test_edits(tmp_path, plain):  # noqa: F811 - the fixture
    small = {"dataset.samples_per_shard": 2}
    test_edit_job.run(test_edit_job.masks_job(tmp_path, plain, small))
    on_ray = test_edit_job.masks_job(tmp_path, plain, small | ON_RAY)
    test_edit_job.run(elsewhere(on_ray, tmp_path))
    assert_same(tmp_path, 3)  # two shards and the masks


@pytest.mark.parametrize("background", ["other_sample", "folder"])
def test_composites(tmp_path, background):
    compose = {"background": background, **test_compose_job.DISC}
    if background == "folder":
        compose["folder"] = str(test_compose_job.rooms(tmp_path / "rooms"))
    job = test_compose_job.job
    test_compose_job.run(job(tmp_path, compose))
    test_compose_job.run(elsewhere(job(tmp_path, compose, ON_RAY), tmp_path))
    contents = [
        {(s.key, s.image.tobytes(), s.mask.tobytes()) for s in factory.open_dataset(tmp_path / one)}
        for one in ("out", "ray")
    ]
    assert len(contents[0]) > 10
    assert contents[0] == contents[1]


def test_splits(tmp_path):
    settings = test_split_job.SETTINGS
    run_job(small_job(tmp_path, settings), progress=False)
    on_ray = settings | {"output.uri": str(tmp_path / "ray")}
    on_ray |= {"run.executor": "ray", "run.num_actors": 2}
    run_job(small_job(tmp_path, on_ray), progress=False)
    assert_same(tmp_path, 20)  # shards of the three splits


def test_agreement(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    methods = (test_agreement_job.DIRECTION, test_agreement_job.FINER)
    test_agreement_job.run(test_agreement_job.job(tmp_path, *methods))
    on_ray = test_agreement_job.job(tmp_path, *methods, overrides=ON_RAY)
    test_agreement_job.run(elsewhere(on_ray, tmp_path))
    facts = [
        [(sample.key, sample.facts.agreement) for sample in factory.open_dataset(tmp_path / one)]
        for one in ("out", "ray")
    ]
    assert len(facts[0]) == 13
    assert facts[0] == facts[1]


def assert_same_everywhere(lab: Lab, dataset: dict[str, Any], num_shards: int) -> None:
    """Fit and make a dataset of `shapes` here and on Ray: the segmenter's bytes, and all archives."""
    places = ("inline", "ray")
    for executor in places:
        job = {
            "name": "toy",
            "dataset": {"generator": {"kind": "shapes"}, **dataset},
            "run": {"executor": executor, "num_actors": 2},
            "output": {"uri": str(lab.folder / executor)},
        }
        # A cache of its own: the second fit must not be the first one's file.
        cache = str(lab.folder / f"cache-{executor}")
        lab.must_run("run", str(lab.write_job(job)), XDG_CACHE_HOME=cache)
    fits = [lab.folder / place / "segmenter.safetensors" for place in places]
    assert fits[0].read_bytes() == fits[1].read_bytes()
    assert len(lab.digests("inline")) == num_shards
    assert lab.digests("ray") == lab.digests("inline")


def test_heads_of_painted_pictures(lab: Lab) -> None:
    section = linear_section(painted_folder(lab.folder / "painted"))
    sizes = {"num_samples": 32, "samples_per_shard": 16, "batch_size": 4}
    assert_same_everywhere(lab, sizes | {"segmenter": section}, 2)


@pytest.mark.parametrize("kind", ["direction", "alpha"])
def test_directions_and_alpha(lab: Lab, kind: str) -> None:
    section: dict[str, Any] = {"kind": kind, "images_per_step": 4}
    if kind == "alpha":
        pictures = generated_pictures(lab.folder / "pictures", small_job(lab.folder).dataset)
        section |= {"images": str(pictures), "steps": 4, "threshold": 0.5}
    else:  # an early search: nothing is rejected for how its masks look
        section |= {"steps": 20, "foreground_share": [0, 1], "two_modes": "off"}
    sizes = {"num_samples": 24, "samples_per_shard": 8, "batch_size": 3}
    encode = {"alpha": kind == "alpha", "confidence": True}
    assert_same_everywhere(lab, sizes | {"segmenter": section, "encode": encode}, 3)
