import hashlib
import shutil

import pyarrow.parquet as pq
import pytest
from small_job import make_small

import factory
from factory.care.verify import verify_dataset
from factory.derive.copy import derive_dataset
from factory.derive.rule import Rule
from factory.errors import JobError, StoreError
from factory.store import open_store

pytestmark = pytest.mark.slow
SPLITS = {
    "dataset.num_samples": 60,
    "dataset.samples_per_shard": 3,
    "dataset.generator.kind": "plugins.repeating:Repeating",
    "dataset.splits": {"train": 0.8, "val": 0.1, "test": 0.1},
}


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    folder = tmp_path_factory.mktemp("divided")
    make_small(folder, SPLITS)
    return folder / "out"


def derive(sources, output, rule=None, **words):
    stores = [open_store(str(source)) for source in sources]
    return derive_dataset(stores, open_store(str(output)), rule or Rule(), **words)


def everything(root, split="all"):
    return list(factory.open_dataset(root, split=split, near_train=True))


def test_a_subset_has_the_samples_that_obey_with_new_keys_and_receipts_that_verify(
    finished, tmp_path
):
    rule = Rule(("cluster_02",), 0.45, {"cluster_01": (0.0, 0.2)})
    manifest = derive([finished], tmp_path / "few", rule, name="few", samples_per_shard=2)
    expected = [
        sample
        for sample in everything(finished)
        if sample.facts.confidence >= 0.45
        and sample.facts.class_px[2] > 0
        and sample.facts.class_px[1] <= 0.2 * 32 * 32
    ]
    assert 0 < len(expected) < 13, "else this says nothing"
    found = everything(tmp_path / "few")
    assert manifest.num_samples == len(found) == len(expected)
    assert [sample.key for sample in found] == [f"{i:09d}" for i in range(len(found))]
    for old, new in zip(expected, found, strict=True):
        assert (old.image == new.image).all()
        assert (old.mask == new.mask).all()
        left = {"key", "index", "dataset_id"}
        assert old.facts.model_dump(exclude=left) == new.facts.model_dump(exclude=left)
    findings = verify_dataset(str(tmp_path / "few"), deep=True)
    assert not findings.problems
    assert findings.num_samples == len(expected)
    origins = pq.read_table(tmp_path / "few/origins.parquet")
    assert origins["origin"].to_pylist() == [int(sample.key) for sample in expected]
    measured = ("sharpness", "border", "dhash", "latent_cell")
    old = factory.open_dataset(finished).facts(["key", *measured]).to_pylist()
    old = {row.pop("key"): row for row in old}
    new = factory.open_dataset(tmp_path / "few").facts(measured).to_pylist()
    assert new == [old[sample.key] for sample in expected]


def test_merging_keeps_every_sample_in_its_split(divided, finished, tmp_path):
    sources = [shutil.copytree(f, tmp_path / str(n)) for n, f in enumerate((divided, finished))]
    for source in sources:  # clusters of two fits are alike only if somebody says so
        table = source / "labels.json"
        table.write_text(table.read_text().replace("cluster_0", "part_"))
    manifest = derive(sources, tmp_path / "both", name="both", samples_per_shard=20)
    assert manifest.splits == ("train", "val", "test")
    for split, count in (("train", 48 + 13), ("val", 6), ("test", 6)):
        assert len(everything(tmp_path / "both", split)) == count
    images = [sample.image.tobytes() for sample in everything(divided, "val")]
    assert [s.image.tobytes() for s in everything(tmp_path / "both", "val")] == images
    assert not verify_dataset(str(tmp_path / "both"), deep=True).problems
    card = (tmp_path / "both/README.md").read_text()
    assert "Copied from other datasets" in card
    assert "Generator `several`" in card
    near = factory.open_dataset(tmp_path / "both", split="val").num_left_out
    assert near == factory.open_dataset(divided, split="val").num_left_out > 0


def test_without_repeats_every_picture_is_there_once_and_training_keeps_its_own(divided, tmp_path):
    derive([divided], tmp_path / "once", Rule(without_repeats=True), samples_per_shard=4)
    found = everything(tmp_path / "once")
    digests = [hashlib.sha256(sample.image.tobytes()).hexdigest() for sample in found]
    assert len(set(digests)) == len(digests) < 60
    trained = {sample.image.tobytes() for sample in everything(divided, "train")}
    kept = {sample.image.tobytes() for sample in everything(tmp_path / "once", "train")}
    assert kept <= trained
    assert factory.open_dataset(tmp_path / "once", split="all").num_left_out == 0


def test_running_it_again_resumes_it_to_the_same_bytes(finished, tmp_path):
    words = {"name": "again", "samples_per_shard": 4}
    derive([finished], tmp_path / "a", **words)
    tars = {p.name: p.read_bytes() for p in (tmp_path / "a").rglob("*.tar")}
    assert len(tars) == 4
    lost = tmp_path / "a/receipts/0000/000002.json"
    lost.unlink()
    (tmp_path / "a/data/train/again-000003.tar").unlink()
    (tmp_path / "a/receipts/0000/000003.json").unlink()
    derive([finished], tmp_path / "a", **words)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").rglob("*.tar")} == tars
    with pytest.raises(StoreError, match="holds another dataset"):
        derive([finished], tmp_path / "a", Rule(min_confidence=0.1), **words)


def test_a_subset_of_a_subset_is_one_and_is_made_by_no_job(finished, tmp_path):
    derive([finished], tmp_path / "a", Rule(min_confidence=0.4))
    derive([tmp_path / "a"], tmp_path / "b", Rule(min_confidence=0.45))
    assert not verify_dataset(str(tmp_path / "b"), deep=True).problems
    with pytest.raises(StoreError, match="copies from other datasets"):
        verify_dataset(str(tmp_path / "b"), regenerate=1)


def test_datasets_whose_classes_differ_are_not_merged(finished, tmp_path):
    make_small(tmp_path, {"dataset.segmenter.num_clusters": 3})
    with pytest.raises(JobError, match=r"its mask classes: .*those of .*cluster_03"):
        derive([finished, tmp_path / "out"], tmp_path / "both")
    assert not (tmp_path / "both").exists() or not any((tmp_path / "both").iterdir())


def test_a_dataset_is_not_written_over_its_source(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    with pytest.raises(JobError, match="none of the sources"):
        derive([tmp_path / "out"], tmp_path / "out")


@pytest.mark.parametrize("name", ["../away", "Upper", "a" * 65])
def test_a_name_that_no_dataset_has_is_told(finished, tmp_path, name):
    with pytest.raises(JobError, match="name: found"):
        derive([finished], tmp_path / "new", name=name)
    assert not (tmp_path / "new").exists()
