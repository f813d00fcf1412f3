"""Jobs with a fitted tree, names, groups, confidence by pixel and ignored pixels, from end to end."""

import hashlib
import io
import json
import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
import yaml
from PIL import Image
from small_job import Witness, small_document, small_job

import factory
from factory.care.replay import regenerate_samples
from factory.care.verify import verify_dataset
from factory.dataset.state import find_labels, find_state, load_stored_job
from factory.dataset.status import make_status
from factory.errors import JobError, StoreError
from factory.fit.fitted import find_fitted, fit_key, fit_segmenter
from factory.generate.weights.find import LocalWeights
from factory.job import run_job
from factory.manifest.table import read_manifest
from factory.pack.image import decode_mask
from factory.pack.tar import read_members
from factory.run.calibrate import calibrate
from factory.segment.segmenter_file import decode_segmenter, read_segmenter
from factory.segment.tree.hierarchy import read_hierarchy
from factory.segment.tree.labels_file import read_labels_file
from factory.spec.read import load_job
from factory.store import open_store

pytestmark = pytest.mark.slow

NAMES = ("ground", "left square", "disc")
FIT = {"num_images": 16, "pixels_per_image": 128}
# Coarse maps, which are enlarged: the toy's finest shows every part without a doubtful pixel.
KLISH = {"kind": "klish", "initial_clusters": 10, "fit": FIT, "layers": ["s8", "s16"]}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with a tree file, and a labels file that merges two of four classes."""
    folder = tmp_path_factory.mktemp("fitted")
    dataset = small_job(folder, {"dataset.segmenter": KLISH}).dataset
    data = fit_segmenter(
        dataset, LocalWeights(None, ""), device=torch.device("cpu"), on_progress=lambda *_: None
    )
    (folder / "tree.safetensors").write_bytes(data)
    tree = read_hierarchy(decode_segmenter(data, source="tree")[0])
    first, second, *rest = tree.by_size(tree.flat_cut(4))
    groups = ([first], [second], rest)
    labels = [
        {"name": name, "colour": f"#{position:02x}80ff", "nodes": nodes}
        for position, (name, nodes) in enumerate(zip(NAMES, groups, strict=True))
    ]
    document = {"tree": tree.digest(), "labels": labels}
    (folder / "labels.yaml").write_text(yaml.safe_dump(document))
    return folder


def named_document(fitted, out, **overrides):
    segmenter = {
        "kind": "klish",
        "fitted": str(fitted / "tree.safetensors"),
        "labels": str(fitted / "labels.yaml"),
        "ignore_unclaimed": True,
    }
    return small_document(
        out,
        {
            "dataset.segmenter": segmenter,
            "dataset.encode": {"confidence": True},
            "dataset.accept": {"class_share": {"left square": [0.01, 0.9]}},
            "dataset.oversample": 2,
        }
        | overrides,
    )


def run(document, folder):
    folder.mkdir(exist_ok=True)
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(document))
    return run_job(load_job(path), Witness())


@pytest.fixture(scope="module")
def made(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    run(named_document(fitted, folder), folder)
    return folder / "out"


def samples_in(out):
    """The files of each sample by ending, in the order of the shards."""
    found = {}
    for path in sorted((out / "data/train").iterdir()):
        for key, group in groupby(read_members(path), key=lambda member: member[0].split(".")[0]):
            found[key] = {name.partition(".")[2]: data for name, data in group}
    return found


def digests(out):
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (out / "data").rglob("*.t*")
    }


def test_each_sample_has_its_confidence_between_mask_and_facts(made):
    for files in samples_in(made).values():
        assert list(files) == ["image.png", "mask.png", "confidence.png", "json"]
        mask, confidence = (decode_mask(files[f"{n}.png"]) for n in ("mask", "confidence"))
        facts = json.loads(files["json"])
        assert set(np.unique(mask)) <= {0, 1, 2, 255}
        assert facts["ignore_px"] == (mask == 255).sum()
        assert not confidence[mask == 255].any()
        mean = confidence[mask != 255].mean() / 255
        assert facts["confidence"] == pytest.approx(mean, abs=0.5 / 255)


def test_confidence_is_lower_on_borders(made):
    inside, border = [], []
    for files in samples_in(made).values():
        mask, confidence = (decode_mask(files[f"{n}.png"]) for n in ("mask", "confidence"))
        same = (mask[1:-1, 1:-1] == mask[2:, 1:-1]) & (mask[1:-1, 1:-1] == mask[1:-1, 2:])
        same &= (mask[1:-1, 1:-1] == mask[:-2, 1:-1]) & (mask[1:-1, 1:-1] == mask[1:-1, :-2])
        claimed = mask[1:-1, 1:-1] != 255
        inside += confidence[1:-1, 1:-1][same & claimed].tolist()
        border += confidence[1:-1, 1:-1][~same & claimed].tolist()
    assert np.mean(border) < 0.9 * np.mean(inside)


def test_it_is_verified_and_made_again_byte_for_byte(made, fitted, tmp_path):
    store = open_store(str(made))
    assert verify_dataset(store).problems == ()
    assert regenerate_samples(store, 4) == (4, [])
    run(named_document(fitted, tmp_path), tmp_path)
    assert digests(tmp_path / "out") == digests(made)


def copied_job(made, fitted):
    """The stored job as plain values, with the path that it does not tell."""
    document = yaml.safe_load((made / "job.yaml").read_text())
    assert document["dataset"]["segmenter"]["fitted"] == "../tree.safetensors"
    document["dataset"]["segmenter"]["fitted"] = str(fitted / "tree.safetensors")
    return document


def test_a_map_that_does_not_belong_to_its_facts_is_found(made, fitted, tmp_path):
    other = tmp_path / "out"
    document = copied_job(made, fitted)
    run(document | {"output": {"uri": str(other)}}, tmp_path)
    path = other / "data/train/tiny-000000.tar"
    data = bytearray(path.read_bytes())
    facts = next(d for n, d in read_members(path) if n.endswith("json"))
    place = facts.index(b'"confidence": 0.') + len(b'"confidence": 0.')
    digit = b"0123456789"[(facts[place] - ord("0") + 5) % 10 :][:1]
    changed = facts[:place] + digit + facts[place + 1 :]
    data[data.index(facts) : data.index(facts) + len(facts)] = changed
    path.write_bytes(data)
    receipt = other / "receipts/0000/000000.json"
    record = json.loads(receipt.read_text()) | {"sha256": hashlib.sha256(data).hexdigest()}
    receipt.write_text(json.dumps(record))
    problems = verify_dataset(open_store(str(other)), deep=True).problems
    assert len(problems) == 1
    assert problems[0].found.startswith(f"its facts say confidence 0.{digit.decode()}")


def test_the_job_beside_the_dataset_stands_alone(made, fitted, tmp_path, monkeypatch):
    stored = load_stored_job(open_store(str(made)))
    assert stored.dataset.segmenter.labels == read_labels_file(fitted / "labels.yaml")
    document = copied_job(made, fitted)
    assert document["dataset"]["segmenter"]["labels"]["labels"][1]["name"] == "left square"
    monkeypatch.chdir(tmp_path)
    document["output"]["uri"] = str(tmp_path / "out")
    run(document, tmp_path)
    (fitted / "tree.safetensors").rename(fitted / "elsewhere")
    try:
        document["dataset"]["num_samples"] = 14
        assert run(document, tmp_path).num_samples == 14, "grows without the fitted file"
        document["output"]["uri"] = str(tmp_path / "new")
        with pytest.raises(JobError) as caught:
            run(document, tmp_path)
    finally:
        (fitted / "elsewhere").rename(fitted / "tree.safetensors")
    assert str(caught.value) == (
        f"dataset.segmenter.fitted: {fitted}/tree.safetensors cannot be read (No such file or "
        "directory); make it with `factory fit -o`, or leave `fitted` out to fit here"
    )


def test_names_are_in_the_label_table_the_manifest_the_card_and_the_status(made):
    store = open_store(str(made))
    labels = find_labels(store).labels
    assert [(label.name, label.colour) for label in labels] == [
        (name, (position, 128, 255)) for position, name in enumerate(NAMES)
    ]
    manifest = read_manifest((made / "manifest.parquet").read_bytes(), source="m")
    assert manifest.meaning.labels == labels
    ignored = sum(record.ignore_px for record in manifest.records)
    assert ignored == sum(json.loads(f["json"])["ignore_px"] for f in samples_in(made).values()) > 0
    card = (made / "README.md").read_text()
    assert "| 1 | left square | " in card
    total = manifest.num_samples * 32 * 32
    assert f"| 255 | no class: do not score | | {ignored / total:.1%} |" in card
    status = make_status(find_state(store), labels)
    assert list(status["samples_by_class"]) == list(NAMES)
    assert status["samples_by_class"]["left square"] == 13
    preview = np.asarray(Image.open(io.BytesIO((made / "preview.png").read_bytes())).convert("RGB"))
    for colour in [label.colour for label in labels] + [(128, 128, 128)]:
        legend = preview[-40:]
        assert (legend == colour).all(axis=-1).any(), colour


def test_samples_are_dropped_by_the_share_of_a_named_class(made, fitted, tmp_path):
    strict = named_document(
        fitted, tmp_path, **{"dataset.accept": {"class_share": {"left square": [0.15, 0.9]}}}
    )
    manifest = run(strict, tmp_path)
    assert sum(record.num_rejected["class_1_too_small"] for record in manifest.records) > 0
    for files in samples_in(tmp_path / "out").values():
        assert (decode_mask(files["mask.png"]) == 1).mean() >= 0.15
    wrong = named_document(
        fitted, tmp_path / "b", **{"dataset.accept": {"class_share": {"square": [0, 1]}}}
    )
    text = "found class square; the segmenter has classes 0 to 2: gr"
    with pytest.raises(JobError, match=text):
        run(wrong, tmp_path / "b")
    assert not (tmp_path / "b/out/plan").exists(), "the corrected job can use the folder"
    with pytest.raises(JobError, match=text):
        calibrate(load_job(tmp_path / "b/job.yaml"))


README = (Path(__file__).parents[2] / "README.md").read_text()


def run_documented(word, root, **names):
    """What the README's Python lines that hold `word` leave behind, run on the dataset at `root`."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (code,) = [block for block in blocks if word in block]
    names["dataset"] = factory.open_dataset(root)  # the README opened it some lines before
    exec(code.replace("out/blood_cells", str(root)), names)
    return names


def test_the_documented_lines_filter_by_facts_without_making_anything_again(made):
    facts = [json.loads(files["json"]) for files in samples_in(made).values()]
    least = np.quantile([f["confidence"] for f in facts], 0.2)
    wanted = [f["key"] for f in facts if f["confidence"] >= least and f["ignore_px"] < 200]
    assert run_documented("pc.field", made)["keys"].to_pylist() == wanted
    assert 0 < len(wanted) < len(facts)
    least = float(np.median([f["confidence"] for f in facts]))
    table = pq.read_table(made / "meta/train").filter(pc.field("confidence") > least)
    assert table["key"].to_pylist() == [f["key"] for f in facts if f["confidence"] > least]
    assert 0 < len(table) < len(facts)


def refused(document, folder):
    with pytest.raises(JobError) as caught:
        run(document, folder)
    return str(caught.value)


def test_a_file_fitted_for_something_else_is_refused(fitted, tmp_path):
    path = tmp_path / "tree"
    whole = (fitted / "tree.safetensors").read_bytes()
    document = named_document(fitted, tmp_path)
    document["dataset"]["segmenter"]["fitted"] = str(path)
    for key, value, text in (
        (b"weights_sha256", b"ab", "weights with sha256 ab, the job has none"),
        (b"generator_kind", b"dcgan", "generator dcgan, the job has shapes"),
        (b"kind", b"kmeans", "segmenter kmeans, the job has klish"),
    ):
        path.write_bytes(with_header(whole, key, value))
        assert refused(document, tmp_path) == (
            f"dataset.segmenter.fitted: {path} is fitted for {text}; fit it on this job's generator"
        )
    path.write_bytes(b"not it")
    assert refused(document, tmp_path) == (
        f"dataset.segmenter.fitted: {path}: not a segmenter file; make one with `factory fit`"
    )
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def with_header(data, key, value):
    """A segmenter file with another value in its facts."""
    length = int.from_bytes(data[:8], "little")
    known = rb'(\\"' + key + rb'\\":(?:\\")?)[^\\,]*'
    header = re.sub(known, rb"\g<1>" + value, data[8 : 8 + length].rstrip(), count=1)
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def test_another_file_under_the_same_name_does_not_go_on_with_a_dataset(fitted, tmp_path):
    path = tmp_path / "tree"
    whole = (fitted / "tree.safetensors").read_bytes()
    path.write_bytes(whole)
    document = named_document(fitted, tmp_path)
    document["dataset"]["segmenter"]["fitted"] = str(path)
    run(document, tmp_path)
    path.write_bytes(with_header(whole, b"num_pixels", b"9"))
    with pytest.raises(StoreError, match=r"holds another dataset(?s:.*)segmenter\.sha256: "):
        run(document, tmp_path)


def test_names_for_another_fit_are_refused(fitted, tmp_path):
    document = named_document(fitted, tmp_path)
    labels = yaml.safe_load((fitted / "labels.yaml").read_text())
    labels["tree"] = "f" * 16
    document["dataset"]["segmenter"]["labels"] = labels
    assert "these names are for another fit; run `factory label` again" in refused(
        document, tmp_path
    )


def test_a_labels_file_that_is_missing_or_wrong_is_told_with_the_job(fitted, tmp_path):
    document = named_document(fitted, tmp_path)
    document["dataset"]["segmenter"]["labels"] = "nowhere.yaml"
    assert refused(document, tmp_path) == (
        "nowhere.yaml: cannot read the labels file (No such file or directory)"
    )
    path = tmp_path / "labels.yaml"
    path.write_text("tree: x\nlabels: [{name: a, colour: red, nodes: [1]}]\n")
    document["dataset"]["segmenter"]["labels"] = str(path)
    lines = refused(document, tmp_path).splitlines()
    assert [line.partition(": ")[0].strip() for line in lines[1:]] == [
        "dataset.segmenter.labels.tree",
        "dataset.segmenter.labels.labels.0.colour",
    ]


def test_one_fit_serves_every_cut(tmp_path):
    base = small_job(tmp_path, {"dataset.segmenter": KLISH}).dataset
    for changed in ({"cut": 3}, {"cut": [1, 2]}, {"ignore_unclaimed": True}):
        other = small_job(tmp_path, {"dataset.segmenter": KLISH | changed}).dataset
        assert fit_key(other, "") == fit_key(base, "")
    more = small_job(tmp_path, {"dataset.segmenter": KLISH | {"initial_clusters": 11}}).dataset
    assert fit_key(more, "") != fit_key(base, "")


def cut_job(folder, cut):
    return small_job(folder, {"dataset.segmenter": KLISH | {"cut": cut}})


def test_a_cut_job_keeps_its_tree_and_cannot_be_changed_to_another_cut(fitted, tmp_path):
    run_job(cut_job(tmp_path, 3), Witness())
    tensors, facts = read_segmenter(tmp_path / "out/segmenter.safetensors")
    assert len(facts.labels) == len(facts.nodes) == 3
    tree = read_hierarchy(tensors)
    assert (
        find_fitted(cut_job(tmp_path, 5).dataset, "") == (fitted / "tree.safetensors").read_bytes()
    )
    with pytest.raises(StoreError, match=r"segmenter\.cut: 3 there, 5 in the job"):
        run_job(cut_job(tmp_path, 5), Witness())
    nodes = list(tree.flat_cut(3))
    other = run_job(cut_job(tmp_path / "list", nodes), Witness())
    assert digests_of_masks(tmp_path / "list/out") == digests_of_masks(tmp_path / "out")
    assert [label.name for label in other.meaning.labels] == [
        "cluster_00",
        "cluster_01",
        "cluster_02",
    ]


def digests_of_masks(out):
    return [files["mask.png"] for files in samples_in(out).values()]


# webdataset leaves closing its shards to the garbage collector
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_finest_masks_are_read_with_any_number_of_classes(tmp_path):
    run_job(cut_job(tmp_path / "fine", 10), Witness())
    meaning = find_labels(open_store(str(tmp_path / "fine/out")))
    assert [coarse.num_classes for coarse in meaning.coarser] == list(range(2, 10))
    shards = str(tmp_path / "fine/out/data/train/tiny-{000000..000002}.tar")
    names = run_documented("dataset.table(4)", tmp_path / "fine/out")
    table, last = names["table"], names["mask"]
    pairs = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
    read = {s["__key__"]: table[np.asarray(s["mask.png"])[..., 0]] for s in pairs}
    assert np.array_equal(last, list(read.values())[-1])
    run_job(cut_job(tmp_path / "coarse", 4), Witness())
    coarse = {k: decode_mask(f["mask.png"]) for k, f in samples_in(tmp_path / "coarse/out").items()}
    assert sorted(read) == sorted(coarse)
    agreement = np.mean([read[key] == coarse[key] for key in coarse])
    assert agreement > 0.97, "not quite the same: in the fine masks several clusters compete"


def test_a_job_with_a_fitted_file_is_measured_as_it_will_run(fitted, tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(named_document(fitted, tmp_path)))
    answer = calibrate(load_job(path))
    assert answer["fit_s"] == 0
    plain = named_document(fitted, tmp_path, **{"dataset.encode": {}})
    path.write_text(yaml.safe_dump(plain))
    assert calibrate(load_job(path))["bytes_per_pair"] < answer["bytes_per_pair"] - 768
