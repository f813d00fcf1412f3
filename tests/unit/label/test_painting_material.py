"""What the painting page is opened with: a job's pictures, its classes, and what is painted."""

from pathlib import Path

import pytest
import torch
from painted import linear_section
from small_job import small_job
from small_painting import NAMES, paint_exactly, toy_material, toy_pictures

from factory.errors import JobError
from factory.generate.weights.find import LocalWeights
from factory.label.painting.material import make_painting_material, painting_of

ROOT = Path(__file__).parents[3]


def material_of(folder, **overrides):
    job = small_job(folder, {"dataset.segmenter": linear_section(folder), **overrides})
    cpu = torch.device("cpu")
    return make_painting_material(job, LocalWeights(None, ""), source="job.yaml", device=cpu)


def test_it_has_the_classes_of_the_job_and_the_masks_of_its_folder(tmp_path):
    folder = toy_pictures(tmp_path)
    paint_exactly(folder, NAMES[:2])
    material = toy_material(folder)
    assert [label.name for label in material.labels] == linear_section(folder)["classes"]
    assert sorted(material.masks.painted()) == list(NAMES[:2])
    assert all(material.picture_file(name).is_file() for name in NAMES)


def test_pictures_of_another_generator_are_refused_before_they_are_painted(tmp_path):
    folder = toy_pictures(tmp_path)
    with pytest.raises(JobError, match="holds pictures of shapes with images_id"):
        material_of(folder, **{"dataset.latents": {"truncation_psi": 0.5}})


def test_a_job_that_learns_from_no_paintings_is_refused(tmp_path):
    with pytest.raises(JobError, match=r"job\.yaml: dataset\.segmenter: found kind 'kmeans'"):
        painting_of(small_job(tmp_path), "job.yaml")
    released = {"kind": "linear", "extractor": "some_LSE.pth"}
    with pytest.raises(
        JobError, match="found kind 'linear'; pictures are painted for kind: linear"
    ):
        painting_of(small_job(tmp_path, {"dataset.segmenter": released}), "job.yaml")
