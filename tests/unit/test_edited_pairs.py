"""What is made of a dataset of edits: copies, pictures and exports have both halves of each pair."""

import http.client
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_job import make_small, small_document
from typer.testing import CliRunner

import factory
from factory.care.verify import verify_dataset
from factory.cli.app import app
from factory.dataset.preview import make_preview, overlay, pairs_of, sample_pairs
from factory.dataset.views import make_manifest
from factory.derive.copy import derive_dataset
from factory.derive.key_list import read_key_list
from factory.derive.rule import Rule
from factory.errors import JobError
from factory.serve.app import make_app
from factory.serve.view import DatasetView
from factory.store import open_store
from factory.web.server import bind, serve_beside

pytestmark = pytest.mark.slow
EDIT = {"change": "grow", "of": "square", "by_px": 2, "steps": 3, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """Seven edited pairs in two shards."""
    folder = tmp_path_factory.mktemp("edited")
    head = {"kind": "toy_head:make_toy_head"}
    more = {"dataset.segmenter": head, "dataset.edit": EDIT, "dataset.num_samples": 7}
    factory.run_job(
        small_document(folder, {**more, "dataset.samples_per_shard": 4}), progress=False
    )
    return folder / "out"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Samples of the same parts without edits."""
    folder = tmp_path_factory.mktemp("plain")
    head = {"kind": "toy_head:make_toy_head"}
    make_small(folder, {"dataset.segmenter": head, "dataset.num_samples": 3})
    return folder / "out"


def derive(sources, output):
    stores = [open_store(str(source)) for source in sources]
    return derive_dataset(stores, open_store(str(output)), Rule())


def same(one, other):
    names = ("image", "mask", "edited", "edited_mask")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_copies_have_whole_pairs_and_each_verifies(edited, tmp_path):
    before = list(factory.open_dataset(edited))
    for name, dropped in (("first", before[3:]), ("last", before[:3])):
        path = tmp_path / f"not_{name}.txt"
        path.write_text("\n".join(sample.key for sample in dropped))
        store = open_store(str(tmp_path / name))
        derive_dataset([open_store(str(edited))], store, Rule(without_keys=read_key_list(path)))
    derive([tmp_path / "first", tmp_path / "last"], tmp_path / "both")
    for name, wanted in (("first", before[:3]), ("last", before[3:]), ("both", before)):
        found = list(factory.open_dataset(tmp_path / name))
        assert len(found) == len(wanted)
        assert all(map(same, found, wanted))
        assert not verify_dataset(str(tmp_path / name), deep=True).problems


def test_pairs_are_not_merged_with_samples_that_have_none(edited, plain, tmp_path):
    derive([edited], tmp_path / "few")
    for sources in ([edited, plain], [plain, edited], [tmp_path / "few", plain]):
        with pytest.raises(JobError, match=r"its edited pairs: (True|False); those of"):
            derive(sources, tmp_path / "both")


def test_the_preview_has_each_sample_after_its_edit_beside_it(edited):
    store = open_store(str(edited))
    manifest = make_manifest(store)
    pairs = sample_pairs(store, manifest.records, 24)
    assert [pair.key for pair in pairs] == [f"{index:09d}" for index in range(7) for _ in "ba"]
    sample = factory.open_dataset(edited)[0]
    assert np.array_equal(pairs[1].image, sample.edited)
    assert np.array_equal(pairs[1].mask, sample.edited_mask)
    sheet = np.array(Image.open(io.BytesIO(make_preview(store, manifest))).convert("RGB"))
    white = (sheet[8 : 8 + 144] == 255).all(axis=(0, 2))
    # Before and after touch; the next sample is two gaps further.
    assert not white[8 : 8 + 4 * 144].any()
    assert white[8 + 4 * 144 : 8 + 4 * 144 + 16].all()


@pytest.fixture(scope="module")
def ask(edited, plain):
    ports = {}
    for name, folder in (("edited", edited), ("plain", plain)):
        opened = bind("127.0.0.1", 0)
        view = DatasetView(open_store(str(folder)))
        serve_beside(make_app(view, token=""), opened)
        ports[name] = opened.getsockname()[1]

    def ask(name, path):
        connection = http.client.HTTPConnection("127.0.0.1", ports[name], timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data

    return ask


def test_the_service_shows_a_sample_before_and_after(ask, edited):
    dataset = factory.open_dataset(edited)
    sample, labels = dataset[2], list(dataset.labels)
    before, after = pairs_of(sample)

    def picture(what):
        status, data = ask("edited", f"/v1/samples/{sample.key}/{what}.png")
        assert status == 200, data
        return np.array(Image.open(io.BytesIO(data)))

    assert np.array_equal(picture("image"), sample.image)
    assert np.array_equal(picture("edited"), sample.edited)
    assert np.array_equal(picture("edited_overlay"), overlay(after, labels))
    assert not np.array_equal(picture("edited_mask"), picture("mask"))
    overlays = [overlay(pair, labels) for pair in (before, after)]
    assert np.array_equal(picture("tile"), np.concatenate(overlays, axis=1))
    assert json.loads(ask("edited", f"/v1/samples/{sample.key}")[1])["is_edited"]
    for path in ("/v1/gallery", "/v1/samples"):
        tiles = json.loads(ask("edited", path)[1])["tiles"]
        assert len(tiles) == 7
        assert all(tile["is_edited"] for tile in tiles)


def test_the_service_says_of_other_samples_that_they_have_no_edit(ask):
    for what in ("edited", "edited_mask", "edited_overlay"):
        status, data = ask("plain", f"/v1/samples/000000000/{what}.png")
        assert (status, b"no committed shard holds an edited sample 000000000" in data) == (
            404,
            True,
        )
    assert not json.loads(ask("plain", "/v1/samples/000000000")[1])["is_edited"]


def export(layout, dataset, output):
    said = CliRunner().invoke(app, ["export", layout, str(dataset), "-o", str(output)])
    assert said.exit_code == 0, said.output
    return said.output


def test_folders_and_parquet_have_both_halves_clearly_named(edited, tmp_path):
    for layout in ("folders", "hf"):
        assert "left out" not in export(layout, edited, tmp_path / layout)
    info = json.loads(
        pq.read_schema(next((tmp_path / "hf").rglob("*.parquet"))).metadata[b"huggingface"]
    )
    assert info["info"]["features"]["edited_mask"] == {"_type": "Image"}
    rows = pq.read_table(next((tmp_path / "hf").rglob("*.parquet"))).to_pylist()
    for sample, row in zip(factory.open_dataset(edited), rows, strict=True):
        for folder, name in (
            ("images", "image"),
            ("masks", "mask"),
            ("edited", "edited"),
            ("edited_masks", "edited_mask"),
        ):
            file = tmp_path / "folders" / folder / "train" / f"{sample.key}.png"
            expected = getattr(sample, name)
            assert np.array_equal(np.array(Image.open(file)), expected)
            assert np.array_equal(np.array(Image.open(io.BytesIO(row[name]["bytes"]))), expected)


def test_other_formats_tell_that_they_leave_the_second_half_out(edited, plain, tmp_path):
    for layout in ("nnunet", "voc", "yolo", "coco-semantic", "label-studio"):
        said = export(layout, edited, tmp_path / layout)
        assert f"left out the edited images and masks, which {layout} has no place for" in said
    assert "left out" not in export("voc", plain, tmp_path / "plain")
    export("folders", plain, tmp_path / "folders")
    assert not (tmp_path / "folders" / "edited").exists()
