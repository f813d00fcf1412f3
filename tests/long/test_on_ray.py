"""Layouts, edits, composites and splits on Ray give the bytes of `inline`: two minutes.

`python -m pytest tests/long/test_on_ray.py`. That Ray changes no byte of any method is in CI
(`tests/fault/test_same_bytes.py`): what these makings add to a worker's configuration is here.
"""

import pytest
from small_job import small_job
from unit import test_compose_job, test_edit_job, test_layout_job, test_split_job
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
