"""The job that is stored in a dataset says all that decides bytes, and reads back as the same job."""

import pytest
from small_job import small_job

from factory.spec.job import DatasetSpec
from factory.spec.read import check_job
from factory.spec.stored_job import encode_job
from factory.spec.yaml_text import parse_yaml

LABELS = {
    "tree": "0" * 16,
    "labels": [
        {"name": "sky", "colour": "#000000", "nodes": [0]},
        {"name": "ground", "colour": "#ffffff", "nodes": [1]},
    ],
}
SEGMENTERS = {
    "kmeans": {"kind": "kmeans"},
    "klish": {"kind": "klish", "cut": 5},
    "klish as published": {"kind": "klish", "merging": "published"},
    "klish with names": {"kind": "klish", "labels": LABELS},
    "klish with a tree": {"kind": "klish", "fitted": "tree.safetensors", "labels": LABELS},
    "style mixing": {"kind": "style_mixing", "instances": {}},
    "distil": {"kind": "distil", "teacher": "style_mixing"},
    "linear": {"kind": "linear", "annotations": "painted", "classes": ["sky", "ground"]},
    "a released extractor": {"kind": "linear", "extractor": "lse.pth"},
    "alpha": {"kind": "alpha", "images": "pictures"},
    "a released network": {"kind": "alpha", "network": "000999.pt"},
    "a plugin": {"kind": "my.module:Method", "settings": {"depth": 3}},
}


@pytest.fixture(params=SEGMENTERS, ids=lambda name: name.replace(" ", "_"))
def spec(request, tmp_path):
    return small_job(tmp_path, {"dataset.segmenter": SEGMENTERS[request.param]})


def test_it_is_the_same_dataset(spec):
    document = parse_yaml(encode_job(spec).decode())
    assert document["beside"] == "."
    stored = check_job(document, source="stored").dataset
    assert stored.model_dump_json().replace('"../', '"') == spec.dataset.model_dump_json()


def test_every_setting_is_written_out_that_could_make_a_difference(spec):
    dataset = parse_yaml(encode_job(spec).decode())["dataset"]
    assert list(dataset) == list(DatasetSpec.model_fields)
    assert dataset["latents"]["truncation_psi"] == 1.0
    segmenter, own = dataset["segmenter"], type(spec.dataset.segmenter)
    left_out = set(own.model_fields) - set(segmenter)
    given = SEGMENTERS_BY_FILE.get(next((n for n in SEGMENTERS_BY_FILE if segmenter.get(n)), ""))
    if given is None:
        assert left_out == ({"cut"} if segmenter.get("labels") else set())
    else:
        assert given <= left_out
    for name in left_out:
        alone = {**segmenter, name: getattr(spec.dataset.segmenter, name)}
        with pytest.raises(ValueError, match="leave out"):
            own.model_validate(alone)


SEGMENTERS_BY_FILE = {
    "fitted": {"initial_clusters", "layers", "fit", "merging"},
    "extractor": {"epochs", "loss"},
    "network": {"steps", "preset"},
}
"""By the setting that names a fitted file: settings of the fit, which that file has fixed."""


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("painted", "../../painted"),
        ("{here}/deep/painted", "../../deep/painted"),
        ("{here}/out/painted", "../painted"),
        ("../private/painted", "../painted"),
        ("/home/anna/painted", "../painted"),
        ("~/painted", "../painted"),
        ("file:///home/anna/painted", "../painted"),
    ],
)
def test_paths_are_relative_to_the_dataset_and_tell_no_folder_of_its_maker(
    tmp_path, monkeypatch, written, stored
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    section = SEGMENTERS["linear"] | {"annotations": written.format(here=here)}
    spec = small_job(here / "out", {"dataset.segmenter": section})
    document = parse_yaml(encode_job(spec, root=here / "out/cells").decode())
    assert document["dataset"]["segmenter"]["annotations"] == stored
    assert document["output"]["uri"] == "cells"


def test_in_a_bucket_only_names_are_left_and_addresses_stay(tmp_path):
    section = {"kind": "layout", "dataset": "s3://bucket/other"}
    changes = {"dataset.sampling": section, "output.uri": "s3://bucket/cells"}
    changes["dataset.generator"] = {"kind": "dcgan", "weights": str(tmp_path / "w.pt")}
    document = parse_yaml(encode_job(small_job(tmp_path, changes)).decode())
    assert document["dataset"]["sampling"]["dataset"] == "s3://bucket/other"
    assert document["dataset"]["generator"]["weights"] == "../w.pt"
    assert document["output"]["uri"] == "s3://bucket/cells"
    shipped = {"dataset.generator": {"kind": "stylegan2", "weights": "shipped:blood_cells"}}
    document = parse_yaml(encode_job(small_job(tmp_path, shipped), root=tmp_path).decode())
    assert document["dataset"]["generator"]["weights"] == "shipped:blood_cells"


def test_the_weights_are_named_by_their_content(tmp_path):
    spec = small_job(tmp_path, {"dataset.generator": {"kind": "stylegan2", "weights": "w.pt"}})
    stored = parse_yaml(encode_job(spec, weights_sha256="a" * 64).decode())
    assert stored["dataset"]["generator"]["sha256"] == "a" * 64
