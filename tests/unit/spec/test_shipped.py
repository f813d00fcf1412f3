"""Jobs that come with the package, by their names."""

import re
from pathlib import Path

import pytest

import factory
from factory.errors import JobError
from factory.spec.shipped import find_job_file, shipped_jobs


def test_every_job_of_the_repository_is_shipped():
    folder = Path(factory.__file__).parents[1] / "jobs"
    assert shipped_jobs() == {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    assert {"blood_cells", "smoke"} <= shipped_jobs().keys()


def test_a_shipped_job_is_read_from_any_folder_with_the_files_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = factory.load_job("shipped:blood_cells")
    assert job.name == "blood_cells"
    fitted = Path(job.dataset.segmenter.fitted)
    assert fitted.is_absolute()
    assert fitted.is_file()
    assert not Path(job.output.uri).is_absolute()  # the dataset lies where the command runs


def test_the_path_of_a_file_stays_as_it_is():
    assert find_job_file("some/job.yaml") == Path("some/job.yaml")
    assert find_job_file(Path("job.yaml")) == Path("job.yaml")


@pytest.mark.parametrize("name", ["", "nothing", "../blood_cells", "blood_cells.yaml"])
def test_other_names_are_refused_with_those_that_there_are(name):
    message = f"shipped:{name}: no job of that name is shipped; shipped are: blood_cells, "
    with pytest.raises(JobError, match=re.escape(message)):
        find_job_file(f"shipped:{name}")
