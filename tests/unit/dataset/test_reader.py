import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from damage import TAR
from small_job import make_small

from factory.dataset.reader import open_dataset
from factory.errors import DamageError, JobError, StoreError
from factory.identity import sample_key
from factory.pack.image import decode_image, decode_mask
from factory.pack.tar import read_members
from factory.store import LocalStore

KEYS = [sample_key(index) for index in range(13)]


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """A dataset in which samples were rejected: keys are no positions."""
    folder = tmp_path_factory.mktemp("gaps")
    overrides = {"dataset.oversample": 3, "dataset.accept.min_confidence": 0.457}
    make_small(folder, overrides | {"dataset.num_samples": 8, "dataset.samples_per_shard": 4})
    return folder / "out"


def keys_of(samples):
    return [sample.key for sample in samples]


def test_a_dataset_is_counted_and_walked_in_order(finished):
    dataset = open_dataset(finished)
    assert len(dataset) == 13
    assert keys_of(dataset) == keys_of(dataset.samples()) == KEYS
    assert [label.name for label in dataset.labels] == [f"cluster_0{k}" for k in range(4)]
    assert dataset.manifest.num_samples == 13
    assert dataset.manifest.name == "tiny"


def test_what_is_read_is_what_lies_in_the_tars(finished):
    members = {n: d for path in (finished / "data/train").iterdir() for n, d in read_members(path)}
    for sample in open_dataset(f"file://{finished}"):
        assert np.array_equal(sample.image, decode_image(members[f"{sample.key}.image.png"]))
        assert np.array_equal(sample.mask, decode_mask(members[f"{sample.key}.mask.png"]))


def test_one_sample_is_read_by_position_or_key(finished):
    dataset = open_dataset(finished)
    assert keys_of(dataset[position] for position in range(13)) == KEYS
    assert keys_of(dataset[position] for position in range(-13, 0)) == KEYS
    assert keys_of(dataset[key] for key in KEYS) == KEYS
    assert dataset[np.int64(7)].key == KEYS[7]
    assert np.array_equal(dataset[7].image, list(dataset)[7].image)


def test_positions_count_samples_that_were_kept(gaps):
    dataset = open_dataset(gaps)
    walked = keys_of(dataset)
    assert len(walked) == len(dataset)
    assert walked != KEYS[: len(walked)], "else nothing was rejected"
    assert keys_of(dataset[position] for position in range(len(dataset))) == walked
    rejected = next(key for key in KEYS if key not in walked)
    assert rejected not in dataset
    assert walked[0] in dataset


@pytest.mark.parametrize("position", [13, -14, 10**20])
def test_a_position_beyond_the_samples_is_told(finished, position):
    with pytest.raises(IndexError) as caught:
        open_dataset(finished)[position]
    assert str(caught.value) == f"position {position}: this dataset has 13 samples"


@pytest.mark.parametrize("key", ["000000013", "13", "../../job.yaml", "", "x" * 9, "\u0660" * 9])
def test_a_key_that_no_sample_has_is_told(finished, key):
    dataset = open_dataset(finished)
    with pytest.raises(KeyError, match="this dataset has no such sample; a key has nine digits"):
        dataset[key]
    assert key not in dataset


@pytest.mark.parametrize("which", [1.5, None, True, slice("000000001", None), slice(0, 9, 0)])
def test_what_is_neither_position_nor_key_is_refused(finished, which):
    with pytest.raises(JobError, match=r"^(which|position): found "):
        open_dataset(finished)[which]


@pytest.mark.parametrize(
    "which",
    [slice(0, 3), slice(4, 7), slice(-2, None), slice(11, 99), slice(9, 3, -2), slice(5, 5)],
)
def test_a_slice_is_a_list_of_samples_as_of_any_list(gaps, which):
    dataset = open_dataset(gaps)
    assert keys_of(dataset[which]) == keys_of(dataset)[which]


def test_a_shuffle_gives_every_sample_once_in_an_order_that_repeats(finished):
    dataset = open_dataset(finished)
    first = keys_of(dataset.samples(shuffle=True, seed=1))
    assert sorted(first) == KEYS
    assert first != KEYS
    assert keys_of(open_dataset(finished).samples(shuffle=True, seed=1)) == first
    assert keys_of(dataset.samples(shuffle=True, seed=2)) != first


def test_a_split_that_is_not_there_is_told_at_once(finished):
    with pytest.raises(
        JobError,
        match=r"^split: found 'test'; this dataset has 'train', 'all'; ",
    ):
        open_dataset(finished).samples("test")


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_of_no_order_is_told_at_once(finished, seed):
    dataset = open_dataset(finished)
    for read in (dataset.samples, dataset.to_torch):
        with pytest.raises(JobError, match=r"^seed: found .*; a number from 0 to 2\^63 - 1$"):
            read(shuffle=True, seed=seed)


def test_a_single_column_is_told_to_be_a_list(finished):
    with pytest.raises(JobError) as caught:
        open_dataset(finished).facts("key")
    assert str(caught.value) == "columns: found 'key'; a list of strings or None"


def test_facts_are_one_table_with_a_row_for_each_sample_in_order(gaps):
    dataset = open_dataset(gaps)
    table = dataset.facts()
    assert table["key"].to_pylist() == keys_of(dataset)
    assert {"confidence", "class_px", "sharpness", "dhash"} < set(table.column_names)
    by_sample = [sample.facts.confidence for sample in dataset]
    assert table["confidence"].to_pylist() == by_sample


def test_some_columns_and_rows_of_the_facts_can_be_asked_for(finished):
    dataset = open_dataset(finished)
    whole = dataset.facts().to_pylist()
    assert dataset.facts(["key", "border"]).column_names == ["key", "border"]
    sure = dataset.facts(["key"], where=pc.field("confidence") > 0.46)
    assert sure.column_names == ["key"]
    wanted = [row["key"] for row in whole if row["confidence"] > 0.46]
    assert sure["key"].to_pylist() == wanted
    assert 0 < len(wanted) < 13


def test_a_column_that_facts_lack_is_told(finished):
    dataset = open_dataset(finished)
    with pytest.raises(JobError, match=r"^columns: found colour; the facts have key, index"):
        dataset.facts(["colour"])
    with pytest.raises(JobError, match=r"^where: .*colour.*; a condition on columns: key, index"):
        dataset.facts(where=pc.field("colour") > 1)


def test_a_condition_that_compares_text_with_a_number_is_told(finished):
    with pytest.raises(JobError, match=r"^where: .*string, .*; a condition on columns: key"):
        open_dataset(finished).facts(where=pc.field("key") > 1)


def test_a_lost_or_wrong_table_is_told_with_what_to_do(root):
    table = root / "meta/train/tiny-000001.parquet"
    for harm, found in (
        (
            lambda: shutil.copy(root / "meta/train/tiny-000002.parquet", table),
            "3 rows, its shard has 5",
        ),
        (lambda: table.write_bytes(b"PAR1"), "not the table of its shard's samples"),
        (table.unlink, "not the table of its shard's samples (missing)"),
    ):
        harm()
        with pytest.raises(DamageError) as caught:
            open_dataset(root).facts()
        assert str(caught.value).startswith(f"{table}: {found}")
        assert str(caught.value).endswith(f"; `factory repair {root}` rebuilds it")


def test_masks_are_read_with_fewer_classes_where_there_is_a_tree(finished):
    dataset = open_dataset(finished)
    assert dataset.table(4).tolist()[:5] == [0, 1, 2, 3, 255]
    with pytest.raises(JobError, match="num_classes: found 3; these masks can be read with 4"):
        dataset.table(3)


def test_damage_is_told_and_never_a_shorter_dataset(root):
    data = bytearray((root / TAR).read_bytes())
    data[-1] ^= 1
    (root / TAR).write_bytes(data)
    dataset = open_dataset(root)
    with pytest.raises(DamageError, match=r"tiny-000001.tar: damaged \(sha256 "):
        list(dataset)
    with pytest.raises(DamageError):
        list(dataset.samples(shuffle=True))
    (root / TAR).write_bytes(data[:-512])
    with pytest.raises(DamageError, match="bytes, its receipt says"):
        open_dataset(root)[5]


def test_a_dataset_that_grows_stays_what_it_was_when_it_was_opened(tmp_path):
    make_small(tmp_path)
    dataset = open_dataset(tmp_path / "out")
    copied = pickle.dumps(dataset)
    make_small(tmp_path, {"dataset.num_samples": 18})
    assert len(open_dataset(tmp_path / "out")) == 18
    for known in (dataset, pickle.loads(copied)):
        assert len(known) == 13
        assert keys_of(known) == KEYS


def test_a_copy_in_another_process_reads_the_same(finished):
    dataset = pickle.loads(pickle.dumps(open_dataset(finished)))
    assert repr(dataset) == repr(open_dataset(finished))
    assert keys_of(dataset) == KEYS
    assert dataset[3].key == KEYS[3]


def test_a_fork_opens_connections_of_its_own(finished):
    dataset = open_dataset(finished)
    before = dataset._store
    child = os.fork()
    if child == 0:
        is_new = dataset._store is not before and dataset[3].key == KEYS[3]
        os._exit(0 if is_new else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert dataset._store is before


def test_threads_may_read_one_dataset(gaps):
    dataset = open_dataset(gaps)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda p: dataset[p].key, list(range(len(dataset))) * 8))
    assert read == keys_of(dataset) * 8


def test_one_sample_costs_a_small_part_of_its_shard(tmp_path):
    make_small(tmp_path, {"dataset.num_samples": 120, "dataset.samples_per_shard": 120})
    dataset = open_dataset(tmp_path / "out")
    size = dataset.manifest.records[0].size_bytes
    parts = []

    class Counting(LocalStore):
        def fetch(self, path):
            raise AssertionError("the whole shard is read")

        def read_part(self, path, offset, size_bytes):
            parts.append(size_bytes)
            return super().read_part(path, offset, size_bytes)

    dataset = type(dataset)(Counting(str(tmp_path / "out")))
    for position in (0, 50, 119):
        parts.clear()
        assert dataset[position].facts.index == position
        assert 0 < sum(parts) < size / 4


def test_there_is_one_line_for_no_dataset_and_for_one_without_samples(tmp_path):
    with pytest.raises(StoreError, match="no dataset here; make one with `factory run JOB`"):
        open_dataset(tmp_path)
    with pytest.raises(StoreError, match="give one of these"):
        open_dataset("gs://bucket/x")


def test_it_is_shown_in_one_line_and_in_a_notebook_with_its_classes_and_picture(finished):
    dataset = open_dataset(finished)
    names = "cluster_00, cluster_01, cluster_02, cluster_03"
    assert repr(dataset) == f"<Dataset {finished}: 13 samples in 3 shards; {names}>"
    page = dataset._repr_html_()
    assert "&lt;Dataset " in page
    assert page.count("<tr>") == 5
    assert '<img style="max-width:100%" src="data:image/png;base64,iVBORw0KGgo' in page
    (finished_copy := finished.parent / "without").mkdir(exist_ok=True)
    shutil.copytree(finished, finished_copy, dirs_exist_ok=True)
    (finished_copy / "preview.png").write_bytes(b"<script>")
    assert "<img" not in open_dataset(finished_copy)._repr_html_()


def test_names_from_a_dataset_cannot_write_html(root):
    labels = root / "labels.json"
    labels.write_text(labels.read_text().replace("cluster_01", "<script>alert('1')</script>&"))
    page = open_dataset(root)._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&amp;" in page


@pytest.mark.parametrize("what", ["texts", "lists", "doubled", "dictionary"])
def test_a_table_with_columns_of_other_types_is_damage(root, what):
    path = next((root / "meta").rglob("*.parquet"))
    table = pq.read_table(path)
    names = table.schema.names
    if what == "doubled":
        odd = pa.Table.from_arrays(table.columns * 2, names=names * 2)
    else:
        value = {
            "texts": ["x"],
            "lists": [[[1]]],
            "dictionary": pa.array(["x"]).dictionary_encode(),
        }
        column = pa.concat_arrays([pa.array(value[what])] * len(table))
        odd = pa.table(dict.fromkeys(names, column))
    pq.write_table(odd, path)
    with pytest.raises(DamageError, match=r"not the table of its shard's samples \(column '"):
        open_dataset(str(root)).facts()


def test_a_folder_of_other_things_is_no_dataset_to_a_reader(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError) as caught:
        open_dataset(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no dataset here; make one with `factory run JOB`"
