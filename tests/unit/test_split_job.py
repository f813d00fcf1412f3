"""Jobs with splits, from the settings to the readers: made, grown, resumed, damaged and repaired."""

import json
import pickle
import shutil

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from small_job import make_small

import factory
from factory.care.repair import find_repairs
from factory.care.verify import verify_dataset
from factory.dataset.near_train import find_near_train
from factory.dataset.state import find_plan, find_state
from factory.dataset.status import make_status
from factory.dataset.views import make_manifest
from factory.errors import DamageError, JobError, StoreError
from factory.pack.tar import read_members
from factory.store import open_store

pytestmark = pytest.mark.slow

SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}
SETTINGS = {
    "dataset.num_samples": 60,
    "dataset.samples_per_shard": 3,
    "dataset.generator.kind": "plugins.repeating:Repeating",
    "dataset.splits": SPLITS,
}
PLAIN = {name: value for name, value in SETTINGS.items() if name != "dataset.splits"}
NEAR = "index/near_train.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("splits")
    make_small(folder, SETTINGS)
    return folder / "out"


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "out")
    return tmp_path / "out"


def samples_in(root):
    """The bytes of each sample's files, wherever its shard lies."""
    tars = sorted(root.glob("data/*/*.tar"))
    return {name: data for tar in tars for name, data in read_members(tar)}


def bytes_below(root):
    """All files but those that hold a time."""
    kept = [p for p in root.rglob("*") if p.is_file() and p.suffix in (".tar", ".parquet")]
    kept = [p for p in kept if p.name != "manifest.parquet"]
    return {str(p.relative_to(root)): p.read_bytes() for p in kept}


def test_splits_divide_the_same_samples_into_folders_of_their_own(made, tmp_path):
    make_small(tmp_path, PLAIN)
    plain = samples_in(tmp_path / "out")
    divided = samples_in(made)
    assert divided.keys() == plain.keys()
    images = [name for name in plain if name.endswith(".png")]
    assert all(divided[name] == plain[name] for name in images)
    names = {
        split: sorted(p.name for p in (made / "data" / split).iterdir())
        for split in ("train", "val", "test")
    }
    assert names["train"] == [f"tiny-{number:06d}.tar" for number in range(16)]
    assert names["val"] == ["tiny-val-000000.tar", "tiny-val-000001.tar"]
    assert names["test"] == ["tiny-test-000000.tar", "tiny-test-000001.tar"]
    tables = {p.stem for p in made.glob("meta/*/*.parquet")}
    assert tables == {p.stem for p in made.glob("data/*/*.tar")}


def test_each_split_has_an_index_and_rows_of_the_card(made):
    for split, count in (("train", 48), ("val", 6), ("test", 6)):
        index = json.loads((made / f"index/{split}.wids.json").read_text())
        assert sum(shard["nsamples"] for shard in index["shardlist"]) == count
        for shard in index["shardlist"]:
            assert (made / "index" / shard["url"]).resolve().parent == made / "data" / split
    card = (made / "README.md").read_text()
    assert "- split: val\n    path: data/val/*.tar" in card
    near = find_near_train(open_store(str(made)), make_manifest(open_store(str(made))))
    assert f"| val | 6 | {near.count('val')} | 2 |" in card
    assert "| train | 48 |  | 16 |" in card
    assert 'wds.WebDataset("data/train/tiny-{000000..000015}.tar"' in card


def test_near_training_samples_are_those_of_equal_pictures(made):
    """The generator repeats its pictures byte for byte, so that the truth is known."""
    images = {name[:9]: data for name, data in samples_in(made).items() if "image" in name}
    keys = {
        split: factory.open_dataset(made, split=split, near_train=True).facts(["key"])
        for split in ("train", "val", "test")
    }
    trained = {images[key] for key in keys["train"]["key"].to_pylist()}
    for split in ("val", "test"):
        repeats = [key for key in keys[split]["key"].to_pylist() if images[key] in trained]
        table = pq.read_table(made / NEAR).filter(pc.field("split") == split)
        marked = [f"{index:09d}" for index in table["index"].to_pylist()]
        assert set(repeats) <= set(marked)
        assert 0 < len(repeats) < 6, "else this says nothing"
        for row in table.to_pylist():
            same = images[f"{row['index']:09d}"] == images[f"{row['train_index']:09d}"]
            assert same or row["bits"] > 0


def test_a_reader_leaves_near_training_samples_out_and_counts_them(made):
    near = set(pq.read_table(made / NEAR)["index"].to_pylist())
    for split in ("val", "test", "all"):
        whole = factory.open_dataset(made, split=split, near_train=True)
        dataset = factory.open_dataset(made, split=split)
        keys = [sample.key for sample in whole if int(sample.key) not in near]
        assert dataset.num_left_out == len(whole) - len(keys) > 0
        assert f"({dataset.num_left_out} near training samples left out)" in repr(dataset)
        assert len(dataset) == len(keys)
        assert [sample.key for sample in dataset] == keys
        assert [dataset[position].key for position in range(len(keys))] == keys
        assert dataset.facts(["key"])["key"].to_pylist() == keys
        few = dataset.facts(["key"], where=pc.field("index") > int(keys[0]))
        assert few["key"].to_pylist() == keys[1:]
        assert sorted(sample.key for sample in dataset.samples(shuffle=True)) == keys
        assert [pair["key"] for pair in dataset.to_torch()] == keys
        assert [s.key for s in pickle.loads(pickle.dumps(dataset))] == keys
        left = next(sample.key for sample in whole if int(sample.key) in near)
        assert left in whole
        assert left not in dataset
        with pytest.raises(KeyError, match=rf"this split \({split}\) has no such sample"):
            dataset[left]


def test_what_is_opened_without_a_word_is_for_training(made):
    dataset = factory.open_dataset(made)
    assert len(dataset) == 48
    assert dataset.num_left_out == 0
    val = [sample.key for sample in factory.open_dataset(made, split="val")]
    assert not {sample.key for sample in dataset} & set(val)
    assert [sample.key for sample in dataset.samples("val")] == val
    assert [pair["key"] for pair in dataset.to_torch(split="val")] == val
    with pytest.raises(JobError, match="split: found 'dev'; this dataset has 'train', 'val', "):
        factory.open_dataset(made, split="dev")


def test_a_dataset_grows_and_what_repeats_is_found_anew(copy):
    before = bytes_below(copy)
    marked = set(pq.read_table(copy / NEAR)["index"].to_pylist())
    make_small(copy.parent, SETTINGS | {"dataset.num_samples": 120})
    after = bytes_below(copy)
    assert {n: d for n, d in after.items() if n in before and n != NEAR} == {
        n: d for n, d in before.items() if n != NEAR
    }
    grown = set(pq.read_table(copy / NEAR)["index"].to_pylist())
    assert marked < grown, "new training samples repeat old held-out ones too"
    assert {index for index in grown if index < 60} > marked
    assert find_plan(open_store(str(copy))).num_shards == 40


def test_a_reader_does_not_trust_a_list_of_fewer_shards(copy):
    old = (copy / NEAR).read_bytes()
    make_small(copy.parent, SETTINGS | {"dataset.num_samples": 120})
    left_out = factory.open_dataset(copy, split="val").num_left_out
    (copy / NEAR).write_bytes(old)
    assert factory.open_dataset(copy, split="val").num_left_out == left_out
    (copy / NEAR).write_bytes(b"PAR1")
    assert factory.open_dataset(copy, split="val").num_left_out == left_out
    (copy / NEAR).unlink()
    assert factory.open_dataset(copy, split="val").num_left_out == left_out


def test_a_run_that_was_cut_short_is_resumed_to_the_same_bytes(copy):
    whole = bytes_below(copy)
    lost = find_plan(open_store(str(copy))).tasks()[9:13]
    assert {task.split for task in lost} >= {"train"}
    for task in lost:
        (copy / f"receipts/0000/{task.shard_index:06d}.json").unlink()
        if task.shard_index % 2:
            (copy / f"data/{task.split}/{task.name}.tar").unlink()
    make_small(copy.parent, SETTINGS)
    found = bytes_below(copy)
    assert found.keys() == whole.keys()
    tars = [name for name in whole if name.endswith(".tar")]
    assert all(found[name] == whole[name] for name in tars)
    assert not verify_dataset(str(copy), deep=True).problems


def test_verification_and_repair_go_by_the_split_s_own_folder(copy):
    assert not verify_dataset(str(copy), deep=True).problems
    val = copy / "data/val/tiny-val-000001.tar"
    data = bytearray(val.read_bytes())
    data[700] ^= 1
    val.write_bytes(data)
    table = copy / "meta/test/tiny-test-000000.parquet"
    table.unlink()
    problems = verify_dataset(str(copy), deep=True).problems
    assert {problem.path for problem in problems} == {
        "data/val/tiny-val-000001.tar",
        "meta/test/tiny-test-000000.parquet",
    }
    with pytest.raises(DamageError, match=r"data/val/tiny-val-000001\.tar: damaged"):
        list(factory.open_dataset(copy, split="val", near_train=True))
    for step in find_repairs(open_store(str(copy))):
        step.do()
    make_small(copy.parent, SETTINGS)
    assert not verify_dataset(str(copy), deep=True).problems


def test_a_list_of_near_samples_that_lies_is_found_and_made_anew(copy):
    table = pq.read_table(copy / NEAR)
    good = (copy / NEAR).read_bytes()
    pq.write_table(table.slice(1), copy / NEAR)
    (problem,) = verify_dataset(str(copy), deep=True).problems
    assert problem.path == NEAR
    assert problem.found == "not what the hashes of the samples give"
    (step,) = find_repairs(open_store(str(copy)))
    step.do()
    make_small(copy.parent, SETTINGS)
    assert (copy / NEAR).read_bytes() == good


def test_the_status_counts_samples_and_classes_of_each_split(made):
    store = open_store(str(made))
    labels = make_manifest(store).meaning.labels
    status = make_status(find_state(store), labels)
    assert status["samples_by_split"] == {"train": 48, "val": 6, "test": 6}
    total = [sum(status[f"samples_by_class_{s}"].values()) for s in ("train", "val", "test")]
    assert sum(total) == sum(status["samples_by_class"].values())
    assert all(total)


def test_other_splits_are_refused_in_the_same_output(copy):
    with pytest.raises(StoreError, match=r"splits\.val: 0\.1 there, 0\.05 in the job"):
        make_small(
            copy.parent,
            SETTINGS | {"dataset.splits": {"train": 0.85, "val": 0.05, "test": 0.1}},
        )
