import pytest
from small_job import small_job

from factory.dataset.planned_files import planned_digests
from factory.errors import JobError, StoreError
from factory.plan.identity import make_identity
from factory.plan.rounds import make_plan
from factory.run.before_fit import check_before_fit
from factory.run.estimate import estimate_job
from factory.store import open_store


def identify(spec):
    def make(**digests):
        return make_identity(spec, weights_sha256="", **digests)

    return make


def check(spec, rounds=()):
    check_before_fit(spec, open_store(spec.output.uri), rounds, identify(spec))


def test_a_new_job_passes_and_one_without_its_layouts_does_not(tmp_path):
    check(small_job(tmp_path))
    sampling = {"kind": "layout", "layouts": str(tmp_path / "gone")}
    with pytest.raises(JobError, match="gone: does not exist"):
        check(small_job(tmp_path, {"dataset.sampling": sampling}))


def test_a_job_for_another_dataset_is_told_what_differs(tmp_path):
    spec = small_job(tmp_path)
    rounds = make_plan(spec, identify(spec)(**planned_digests({}))).rounds
    check(spec, rounds)
    with pytest.raises(StoreError, match=r"latents\.seed: 0 there, 1 in the job"):
        check(small_job(tmp_path, {"dataset.latents.seed": 1}), rounds)


def test_no_dataset_is_begun_in_the_folder_of_another_one(tmp_path):
    (tmp_path / "cells/plan").mkdir(parents=True)
    (tmp_path / "cells/plan/round-0000.json").write_text("{}")
    spec = small_job(tmp_path, {"output.uri": str(tmp_path / "cells/data/more")})
    for refuse in (check, estimate_job):
        with pytest.raises(
            JobError, match=r"output\.uri: .*more lies in a dataset; choose a path out"
        ):
            refuse(spec)
    check(small_job(tmp_path, {"output.uri": str(tmp_path / "more")}))
