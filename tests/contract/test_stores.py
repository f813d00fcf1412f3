"""The promise of `factory/store/base.py`, held against every store."""

import tempfile
import threading
import time

import boto3
import pytest
from s3_server import moto_server, use_server

from factory.store import Store, open_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def endpoint():
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(endpoint, monkeypatch, tmp_path):
    use_server(monkeypatch, endpoint)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    boto3.client("s3").create_bucket(Bucket="bucket")
    return f"bucket/{tmp_path.name}"


@pytest.fixture(params=["{}", "file://{}", "s3://{}"], ids=["path", "file uri", "s3 uri"])
def store(request, tmp_path):
    is_s3 = request.param.startswith("s3:")
    place = request.getfixturevalue("bucket") if is_s3 else tmp_path
    # A path is a path; in an address a space is written as %20, and S3 takes addresses as they are.
    name = {"{}": "data set", "file://{}": "data%20set"}.get(request.param, "data-set")
    return open_store(request.param.format(f"{place}/{name}"))


def a_file(store, data):
    file = store.work_folder("run-1") / "unfinished"
    file.write_bytes(data)
    return file


def test_it_is_a_store_with_a_name_for_people(store):
    assert isinstance(store, Store)
    assert store.uri.endswith(("data set", "data-set"))


def test_an_empty_store_has_nothing_and_is_nobody_s(store):
    assert store.read("a") is None
    assert store.names("receipts") == []
    assert store.find_foreign_entry([]) is None
    with store.fetch("a") as path:
        assert path is None
    store.clean_up("run-1")


def test_what_is_created_is_read_and_never_changes(store):
    assert store.create("plan/a.json", b"one") is True
    assert store.create("plan/a.json", b"two") is False
    assert store.read("plan/a.json") == b"one"


def test_an_empty_file_is_a_file(store):
    assert store.create("a", b"") is True
    assert store.read("a") == b""
    assert store.create("a", b"x") is False


def test_what_is_published_is_fetched_and_never_changes(store):
    assert store.publish("data/a.tar", a_file(store, b"one")) is True
    assert store.publish("data/a.tar", a_file(store, b"two")) is False
    with store.fetch("data/a.tar") as path:
        assert path.read_bytes() == b"one"


def test_what_is_replaced_is_new(store):
    store.replace("view", b"one")
    store.replace("view", b"two")
    assert store.read("view") == b"two"


def test_a_created_name_can_not_be_published_nor_the_other_way_round(store):
    store.create("a", b"one")
    assert store.publish("a", a_file(store, b"two")) is False
    store.publish("b", a_file(store, b"two"))
    assert store.create("b", b"one") is False
    assert (store.read("a"), store.read("b")) == (b"one", b"two")


def test_of_many_that_create_one_name_one_wins(store):
    results = []
    barrier = threading.Barrier(6)

    def work(data):
        barrier.wait()
        results.append((store.create("a", data), data))

    threads = [threading.Thread(target=work, args=(b"%d" % i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [data for won, data in results if won] == [store.read("a")]


def test_names_are_whole_paths_of_one_folder_in_order(store):
    for name in ("receipts/0001/000000.json", "receipts/0000/000001.json", "receipts2/x", "a"):
        store.create(name, b"")
    assert store.names("receipts") == ["receipts/0000/000001.json", "receipts/0001/000000.json"]


def test_a_stranger_is_found_among_known_names(store):
    store.create("data/a", b"")
    store.create("zebra", b"")
    assert store.find_foreign_entry(["data", "tmp"]) == "zebra"
    assert store.find_foreign_entry(["data", "tmp", "zebra"]) is None


def test_unfinished_files_are_no_part_of_the_dataset_and_go_with_their_run(store):
    file = a_file(store, b"half")
    assert file.exists()
    assert all(not store.names(folder) for folder in ("data", "meta", "receipts", "plan"))
    store.clean_up("run-1")
    assert not file.exists()


def test_sizes_are_told_and_of_what_is_absent_none(store):
    store.create("a", b"12345")
    assert (store.size_of("a"), store.size_of("b"), store.size_of("a/b")) == (5, None, None)


def test_a_part_of_a_file_is_read_and_no_more_than_there_is(store):
    store.create("d/a", b"0123456789")
    assert store.read_part("d/a", 0, 10) == b"0123456789"
    assert store.read_part("d/a", 3, 4) == b"3456"
    assert store.read_part("d/a", 8, 100) == b"89"
    assert store.read_part("d/a", 10, 1) == b""
    assert store.read_part("d/a", 1000, 1) == b""
    assert store.read_part("d/b", 0, 1) is None


def test_what_is_removed_is_absent_and_can_be_created_again(store):
    store.create("d/a", b"one")
    store.remove("d/a")
    store.remove("d/a")
    assert store.read("d/a") is None
    assert store.names("d") == []
    assert store.create("d/a", b"two") is True


def test_a_listing_in_pieces_is_the_listing(store):
    names = [f"r/{i:03d}" for i in range(20)]
    for name in names:
        store.create(name, b"")
    assert store.names("r", ["r/004", "r/0045", "r/019"]) == names
    assert store.names("r", ["r/zzz"]) == names


def test_files_are_told_with_size_and_time(store):
    before = time.time()
    store.create("d/b", b"12")
    store.create("d/a", b"1")
    found = list(store.files("d"))
    assert [(file.path, file.size_bytes) for file in found] == [("d/a", 1), ("d/b", 2)]
    assert all(before - 5 < file.changed_at < time.time() + 5 for file in found)
    assert list(store.files("none")) == []


def test_a_promised_single_writer_still_never_replaces(store):
    alone = open_store(store.uri, single_writer=True)
    assert alone.create("a", b"one") is True
    assert alone.create("a", b"two") is False
    assert alone.publish("a", a_file(alone, b"three")) is False
    assert alone.publish("b", a_file(alone, b"three")) is True
    assert (alone.read("a"), alone.read("b")) == (b"one", b"three")
