"""Ids and fit keys of before this test, which no change may touch: datasets with them exist.

`frozen_ids.json` was written by the code that still put whole settings classes into an identity. It is
never made anew; jobs are added to it, with the numbers of the version that first had them.

A file of `jobs/` that is changed on purpose makes another dataset, and has the id of that one here.
Where a setting's default is another than what was done before there was the setting, the jobs of that
time state it: `merging: published` is what KLiSH did, under the ids it had; the robust rule was fitted
on as many pixels as the memory held. Jobs that name a fitted file
have no fit key here: their fit is never looked for.
"""

import json
from pathlib import Path

import pytest
import yaml

from factory.fit.fitted import fit_key
from factory.plan.identity import dataset_id_of, make_identity
from factory.spec.read import check_job, load_job

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
IDS = json.loads((HERE / "frozen_ids.json").read_text(encoding="utf-8"))
SECTIONS = yaml.safe_load((HERE / "frozen_jobs.yaml").read_text(encoding="utf-8"))
W, S = "w" * 64, "s" * 64


def job_of(name):
    if name.endswith(".yaml"):
        return load_job(Path("jobs") / name)  # the files that it names are named from the root
    document = {"name": "frozen", "dataset": SECTIONS[name], "output": {"uri": "out"}}
    return check_job(document, source=name)


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    """Jobs name their labels files from there."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", IDS)
def test_the_id_of_a_dataset_is_what_it_was(name):
    identity = make_identity(job_of(name), weights_sha256=W, segmenter_sha256=S)
    assert dataset_id_of(identity) == IDS[name]["dataset_id"], identity


@pytest.mark.parametrize("name", [name for name in IDS if "fit_key" in IDS[name]])
def test_the_cache_finds_the_fits_that_it_has(name):
    assert fit_key(job_of(name).dataset, W) == IDS[name]["fit_key"]


def test_the_rule_of_merging_is_part_of_an_id_unless_the_tree_is_a_file():
    assert IDS["klish"] != IDS["klish_robust"]
    assert job_of("klish_robust").dataset.segmenter.merging == "robust"
    section = make_identity(job_of("klish_fitted"), weights_sha256=W, segmenter_sha256=S)
    assert "merging" not in section["segmenter"]


def test_every_job_has_a_frozen_id():
    jobs = {path.name for path in (ROOT / "jobs").glob("*.yaml")}
    assert jobs | set(SECTIONS) == set(IDS)


def test_whatever_the_frozen_jobs_set_makes_another_id():
    """Jobs that are equal on purpose aside, so that the numbers can tell settings apart."""
    ids = [found["dataset_id"] for name, found in IDS.items() if "built_in_now" not in name]
    assert len(set(ids)) == len(ids)
