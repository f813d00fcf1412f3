"""Settings given beside a job file."""

import pytest
from small_job import small_document

import factory
from factory.errors import JobError
from factory.spec.changes import apply_changes, read_changes
from factory.spec.yaml_text import dump_yaml


def job_file(folder):
    path = folder / "job.yaml"
    path.write_text(dump_yaml(small_document(folder)))
    return path


def test_values_are_yaml():
    changes = read_changes(
        ["run.num_actors=4", "run.address=null", "a.b=[1, x]", 'c="4"', "d=a=b", "e="]
    )
    assert changes.settings == {
        "run.num_actors": 4, "run.address": None, "a.b": [1, "x"], "c": "4", "d": "a=b", "e": None
    }  # fmt: skip
    assert changes.add is None


def test_a_plus_before_the_number_of_samples_is_a_step():
    assert read_changes(["dataset.num_samples=+1000"]).add == 1000
    assert read_changes(["dataset.num_samples=1000"]).settings == {"dataset.num_samples": 1000}
    assert read_changes(["dataset.batch_size=+8"]).settings == {"dataset.batch_size": 8}


@pytest.mark.parametrize("value", ["+1e3", "+1_000", "+0x10", " +1k", "'+5'", "+"])
def test_a_step_in_another_form_is_not_taken_for_a_total(value):
    with pytest.raises(JobError) as caught:
        read_changes([f"dataset.num_samples={value}"])
    assert str(caught.value) == (
        f"--set dataset.num_samples: found {value.strip()!r}; a step is a plus sign and digits, "
        "such as +1000"
    )


@pytest.mark.parametrize("text", ["", "x", "=1", "a..b=1", ".a=1", "a.=1"])
def test_what_is_no_setting_is_refused(text):
    with pytest.raises(JobError, match=r"--set: found .*; path=value, such as"):
        read_changes([text])


@pytest.mark.parametrize(
    "texts",
    [
        ["a=1", "a=2"],
        ["dataset.num_samples=+1", "dataset.num_samples=+1"],
        ["dataset.num_samples=+1", "dataset.num_samples=1"],
    ],
)
def test_a_setting_is_given_once(texts):
    with pytest.raises(JobError, match=r"--set: sets .* twice"):
        read_changes(texts)


def test_values_that_are_no_yaml_are_refused_with_their_setting():
    with pytest.raises(JobError, match=r"--set run\.address: .*quote the value"):
        read_changes(["run.address=[1"])


def test_changes_come_before_the_checks_and_make_missing_sections(tmp_path):
    path = job_file(tmp_path)
    spec = factory.load_job(
        path, {"run.num_actors": 3, "dataset.latents.seed": 5, "run.executor": "ray"}
    )
    assert (spec.run.num_actors, spec.dataset.latents.seed, spec.run.executor) == (3, 5, "ray")
    assert factory.load_job(path).run.executor == "inline"
    with pytest.raises(JobError, match=r"run\.num_actor: unknown key; did you mean 'num_actors'"):
        factory.load_job(path, {"run.num_actor": 3})


def test_a_path_through_a_value_is_refused_with_the_value():
    with pytest.raises(
        JobError, match=r"a\.b\.c: a\.b is 1, which has no settings inside; set a\.b"
    ):
        apply_changes({"a": {"b": 1}}, {"a.b.c": 2})


def test_a_change_keeps_no_hold_on_the_callers_lists():
    given = {"a": [1]}
    document = {}
    apply_changes(document, given)
    document["a"].append(2)
    assert given == {"a": [1]}


def test_a_method_named_alone_can_be_given_settings(tmp_path):
    document = small_document(tmp_path)
    document["dataset"]["segmenter"] = "kmeans"
    apply_changes(document, {"dataset.segmenter.num_clusters": 5})
    assert document["dataset"]["segmenter"] == {"kind": "kmeans", "num_clusters": 5}
