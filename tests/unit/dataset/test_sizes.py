"""Sizes of shards against those that receipts tell."""

import pytest

from factory.dataset.sizes import check_sizes
from factory.errors import DamageError
from factory.store import LocalStore

TOLD = [
    ("data/train/cells-000000.tar", 3),
    ("data/val/cells-000001.tar", 4),
    ("data/train/cells-000002.tar", 5),
    ("data/train/cells-1000003.tar", 6),
    ("data/train/odd.tar", 7),
]


@pytest.fixture
def store(tmp_path):
    made = LocalStore(str(tmp_path))
    for path, size_bytes in TOLD:
        made.replace(path, bytes(size_bytes))
    made.replace("data/train/of-another-tool.txt", b"x")
    made.replace("data/train/another-000000.tar", b"not one of ours")
    return made


def test_equal_sizes_pass_whatever_else_lies_there(store):
    check_sizes(store, TOLD)
    check_sizes(store, [])


@pytest.mark.parametrize("path", [path for path, _ in TOLD])
def test_a_shard_of_another_size_or_without_a_file_is_told(store, path):
    store.replace(path, bytes(9))
    with pytest.raises(DamageError, match=rf"{path}.*damaged.*9 bytes"):
        check_sizes(store, iter(TOLD))
    store.remove(path)
    with pytest.raises(DamageError, match=rf"{path}: missing, though its receipt is there"):
        check_sizes(store, iter(TOLD))


def test_a_listing_that_lags_behind_is_not_believed(store):
    listed = list(store.files("data"))
    store.files = lambda folder: iter(listed[2:])
    check_sizes(store, TOLD)
