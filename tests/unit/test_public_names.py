"""What `import factory` offers."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_job import Witness, small_document, small_job

import factory
from factory import errors

PACKAGE = Path(factory.__file__).parent
READING = (PACKAGE / "docs" / "reading.md").read_text(encoding="utf-8")


def after(code):
    """What a fresh interpreter prints, as JSON, after `code`."""
    command = [sys.executable, "-c", f"import json, sys; {code}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def test_every_name_is_exported_once_sorted_and_there():
    assert sorted(factory.__all__) == sorted(set(factory.__all__)) == dir(factory)
    for name in factory.__all__:
        assert getattr(factory, name) is not None
    assert set(factory._HOMES) < set(factory.__all__)


def test_every_error_class_is_exported_and_no_other():
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.FactoryError)
    }
    exported = {name for name in factory.__all__ if hasattr(errors, name)}
    assert classes == exported


@pytest.mark.parametrize("name", [n for n in factory.__all__ if n != "__version__"])
def test_every_name_has_a_docstring_and_stands_in_the_documentation(name):
    assert inspect.getdoc(getattr(factory, name))
    assert f"`{name}`" in READING or f"factory.{name}" in READING


def test_no_module_of_the_package_is_called_like_a_public_name():
    """Importing it would replace the function by the module."""
    names = {path.stem for path in PACKAGE.iterdir()}
    assert not names & set(factory.__all__)


def test_importing_it_loads_nothing_heavy():
    loaded = after("import factory; print(json.dumps([*sys.modules]))")
    assert "factory.errors" in loaded
    assert not {"torch", "ray", "numpy", "pydantic", "pyarrow", "PIL", "rich"} & set(loaded)


def test_names_are_listed_before_and_after_they_are_used():
    listed, again = after(
        "import factory; a = dir(factory); factory.load_job; factory.open_dataset;"
        "print(json.dumps([a, dir(factory)]))"
    )
    assert listed == again == sorted(factory.__all__)


def test_the_version_is_that_of_the_distribution():
    assert factory.__version__ == factory.provenance.own_version() != "unknown"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'factory' has no attribute 'nothing'"):
        factory.nothing  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("form", ["path", "text", "mapping", "spec"])
def test_a_job_can_be_given_in_four_forms(tmp_path, form):
    document = small_document(tmp_path)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(document))
    job = {"path": path, "text": str(path), "mapping": document, "spec": small_job(tmp_path)}[form]
    made = factory.run_job(job, Witness())
    assert (made.num_samples, made.num_planned) == (13, 13)
    assert factory.estimate_job(job).num_done == 13
    assert factory.verify_dataset(tmp_path / "out", deep=True, regenerate=2).num_regenerated == 2
    assert factory.verify_dataset(str(tmp_path / "out")).problems == ()
    assert len(factory.open_dataset(tmp_path / "out")) == 13


def test_a_manifest_is_shown_in_one_line(tmp_path):
    manifest = factory.run_job(small_document(tmp_path), progress=False)
    line = f"<Manifest tiny: 13 of 13 samples in 3 shards, dataset {manifest.dataset_id}>"
    assert repr(manifest) == str(manifest) == line


def test_plain_values_are_refused_in_the_words_that_a_file_is(tmp_path):
    document = small_document(tmp_path, {"dataset.sed": 1, "run.num_actors": 0})
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(factory.JobError) as from_file:
        factory.load_job(str(tmp_path / "job.yaml"))
    for refuse in (
        factory.JobSpec.from_dict,
        factory.run_job,
        factory.estimate_job,
        factory.stream,
    ):
        with pytest.raises(factory.JobError) as from_values:
            refuse(document)
        head, *lines = str(from_values.value).splitlines()
        assert head == "job: 2 problems"
        assert lines == str(from_file.value).splitlines()[1:]
        assert from_values.value.problems == from_file.value.problems


def test_labels_files_are_read_for_plain_values_too_and_these_stay_as_they_are(tmp_path):
    labels = {
        "tree": "0" * 16,
        "labels": [{"name": n, "colour": "#123456", "nodes": [i]} for i, n in enumerate("ab")],
    }
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump(labels))
    document = small_document(
        tmp_path,
        {"dataset.segmenter": {"kind": "klish", "labels": str(tmp_path / "labels.yaml")}},
    )
    spec = factory.JobSpec.from_dict(document)
    assert [label.name for label in spec.dataset.segmenter.labels.labels] == ["a", "b"]
    assert document["dataset"]["segmenter"]["labels"] == str(tmp_path / "labels.yaml")


def test_a_path_that_is_not_there_is_told():
    with pytest.raises(factory.JobError, match=r"nowhere\.yaml: cannot read the job file"):
        factory.run_job("nowhere.yaml")
