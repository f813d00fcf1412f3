"""What a job lacks on this machine, told in one go."""

import pytest
from small_job import small_job

import factory
from factory.errors import FactoryError, UnreachableError
from factory.run import missing
from factory.run.missing import find_missing

FAR = {"dataset.generator": {"kind": "stylegan2", "weights": "https://127.0.0.1:1/x.pkl"}}


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(missing, "_GPU_DEVICES", ("/nowhere",))


def test_all_is_told_in_the_order_of_a_run(tmp_path, no_gpu):
    spec = small_job(tmp_path, FAR | {"run.gpus_per_actor": 1, "run.executor": "ray"})
    found = find_missing(spec, UnreachableError("no credentials"))
    assert [(lack.exit_code, lack.what.partition(":")[0]) for lack in found] == [
        (6, "no credentials"),
        (2, "dataset.generator.sha256"),
        (3, "run.gpus_per_actor"),
    ]


def test_a_download_with_its_digest_is_not_missing(tmp_path):
    far = {"dataset.generator": FAR["dataset.generator"] | {"sha256": "0" * 64}}
    assert find_missing(small_job(tmp_path, far), None) == ()


def test_a_cluster_that_does_not_answer_is_told_and_its_gpus_are_not_looked_for_here(
    tmp_path, no_gpu, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    wanted = {"run.gpus_per_actor": 1, "run.address": "auto", "run.executor": "ray"}
    (found,) = find_missing(small_job(tmp_path, wanted), None)
    assert found.exit_code == 3
    assert found.what.startswith("run.address: cannot reach a Ray cluster at 'auto'")


def test_nothing_is_missing_where_there_is_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(missing, "_GPU_DEVICES", (str(tmp_path),))
    assert (
        find_missing(small_job(tmp_path, {"run.gpus_per_actor": 1, "run.executor": "ray"}), None)
        == ()
    )


@pytest.mark.slow
def test_an_estimate_has_the_exit_code_of_the_first(tmp_path):
    estimate = factory.estimate_job(small_job(tmp_path, FAR))
    assert estimate.exit_code == 2
    assert len(estimate.missing) == 1
    assert factory.estimate_job(small_job(tmp_path)).exit_code == 0


REFUSED = {
    "a folder in which nothing can be written": ({"output.uri": "/proc/self/x"}, 6, "output.uri"),
    "a file as a folder": ({"output.uri": __file__ + "/x"}, 6, "output.uri"),
    "a page without Ray": ({"run.serve_port": 0}, 2, "run.serve_port"),
    "more threads than cores": (
        {"run.executor": "ray", "run.threads_per_actor": 256},
        3,
        "run.threads_per_actor",
    ),
    "a resource that one machine lacks": (
        {"run.executor": "ray", "run.resources": {"a100": 1}},
        3,
        "run.resources",
    ),
    "a cluster that is not there": (
        {"run.executor": "ray", "run.address": "ray://127.0.0.1:1"},
        3,
        "run.address",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_run_would_refuse_has_its_exit_code(tmp_path, name):
    overrides, exit_code, setting = REFUSED[name]
    (lack,) = find_missing(small_job(tmp_path, overrides), None)
    assert (lack.exit_code, lack.what.partition(":")[0]) == (exit_code, setting)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a page without Ray", "a file as a folder"])
def test_and_a_run_really_ends_with_it(tmp_path, name):
    overrides, exit_code, _ = REFUSED[name]
    with pytest.raises(FactoryError) as refused:
        factory.run_job(small_job(tmp_path, overrides), progress=False)
    assert refused.value.exit_code == exit_code


@pytest.mark.slow
@pytest.mark.parametrize(
    "generator",
    [{"kind": "no_such_module:Thing"}, {"kind": "stylegan2", "weights": "nowhere.pt"}],
    ids=["a plugin that is not installed", "weights that are not here"],
)
def test_what_cannot_be_loaded_ends_a_plan_as_it_ends_a_run(tmp_path, generator):
    job = small_job(tmp_path, {"dataset.generator": generator})
    with pytest.raises(FactoryError) as refused:
        factory.run_job(job, progress=False)
    estimate = factory.estimate_job(job)
    assert estimate.exit_code == refused.value.exit_code
    assert str(refused.value).split(";")[0] in estimate.missing[0].what
