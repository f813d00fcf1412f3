import shutil

import pytest
from painting import KIND, NAMES, paint, painted_section
from small_job import Witness, small_job

from factory.errors import JobError, StoreError
from factory.fit.fitted import fit_key
from factory.fit.named_files import digest_named_files, digest_of_path
from factory.job import run_job


@pytest.fixture
def pictures(tmp_path):
    return paint(tmp_path / "painted")


def run(folder, segmenter, **overrides):
    return run_job(small_job(folder, {"dataset.segmenter": segmenter, **overrides}), Witness())


def test_a_painted_pixel_more_is_another_fit_and_another_dataset(tmp_path, pictures):
    segmenter = painted_section(pictures)
    dataset = small_job(tmp_path, {"dataset.segmenter": segmenter}).dataset
    before = fit_key(dataset, "")
    run(tmp_path, segmenter)
    (pictures / "3.png").write_bytes((pictures / "0.png").read_bytes())
    assert fit_key(dataset, "") != before
    with pytest.raises(StoreError, match=r"segmenter\.files\.settings\.pictures: '\w{64}' there"):
        run(tmp_path, segmenter)


@pytest.mark.slow
def test_where_the_pictures_lie_decides_nothing_and_a_dataset_goes_on_without_them(
    tmp_path, pictures
):
    first = run(tmp_path, painted_section(pictures))
    moved = tmp_path / "elsewhere"
    pictures.rename(moved)
    again = run(tmp_path, painted_section(moved), **{"dataset.num_samples": 17})
    assert again.dataset_id == first.dataset_id
    shutil.rmtree(moved)
    grown = run(tmp_path, painted_section(moved), **{"dataset.num_samples": 23})
    assert (grown.dataset_id, grown.num_samples) == (first.dataset_id, 23)


def test_pictures_that_are_missing_are_told_before_anything_is_made(tmp_path):
    with pytest.raises(JobError) as caught:
        run(tmp_path, painted_section(tmp_path / "none"))
    assert str(caught.value) == (
        f"dataset.segmenter.settings.pictures: {tmp_path}/none cannot be read (No such file or "
        "directory); the segmenter is fitted on it: check the path"
    )
    assert not (tmp_path / "out").exists()


def test_a_missing_relative_path_names_the_folders_that_were_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobError, match=f"it means the job's folder, or else {tmp_path}$"):
        run(tmp_path, painted_section("none"))


@pytest.mark.slow
def test_a_fitted_file_takes_the_place_of_the_fit_wherever_it_lies(tmp_path, pictures):
    made = run(tmp_path / "fitted", painted_section(pictures))
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes((tmp_path / "fitted" / "out" / "segmenter.safetensors").read_bytes())
    shutil.rmtree(pictures)
    named = {"kind": KIND, "settings": {"head": str(first)}}
    taken = run(tmp_path, named)
    assert taken.meaning.labels == made.meaning.labels
    first.rename(second)
    named["settings"]["head"] = str(second)
    assert run(tmp_path, named, **{"dataset.num_samples": 17}).dataset_id == taken.dataset_id
    named["settings"]["names"] = NAMES
    with pytest.raises(JobError) as caught:
        run(tmp_path, named)
    assert str(caught.value) == (
        "dataset.segmenter.settings: `head` names a fitted file; leave out names"
    )


def test_a_folder_s_digest_is_that_of_its_names_and_their_contents(tmp_path):
    for folder, name in (("a", "x/1"), ("b", "x/1"), ("c", "x/2")):
        file = tmp_path / folder / name
        file.parent.mkdir(parents=True)
        file.write_bytes(b"1")
    first, second, third = (digest_of_path(tmp_path / name) for name in "abc")
    assert first == second != third
    (tmp_path / "b" / "x" / "1").write_bytes(b"2")
    assert digest_of_path(tmp_path / "b") != first


def test_methods_that_read_no_files_have_no_digests(tmp_path):
    assert digest_named_files(small_job(tmp_path).dataset) == {}
