import pyarrow.compute as pc
import pytest
from receipts import a_manifest, a_record

from factory.dataset.near_train import NOTHING, LeftOut
from factory.dataset.selection import Selection, select
from factory.errors import JobError
from factory.store import LocalStore


@pytest.fixture
def divided():
    whole = a_manifest([a_record(0), a_record(1, path="data/val/tiny-val-000000.tar")])
    identity = whole.identity | {"splits": {"train": 0.5, "val": 0.5, "test": 0}}
    return whole.model_copy(update={"identity": identity})


def test_a_split_has_its_own_shards_alone_and_all_has_every_one(divided):
    assert divided.splits == ("train", "val")
    records = {
        split: Selection(divided, split, NOTHING).manifest.records
        for split in ("train", "val", "all")
    }
    assert records["train"] + records["val"] == records["all"] == divided.records
    assert [record.shard_index for record in records["val"]] == [1]


def test_a_dataset_that_is_not_divided_has_no_name_for_its_split(divided):
    assert Selection(divided, "train", NOTHING).name == "train"
    assert Selection(a_manifest([a_record(0)]), "train", NOTHING).name == ""


def test_a_condition_is_kept_and_no_condition_stays_none(divided):
    wanted = pc.field("index") > 3
    assert Selection(divided, "val", NOTHING).restrict(None) is None
    assert Selection(divided, "val", NOTHING).restrict(wanted) is wanted
    left = LeftOut({"data/val/tiny-val-000000.tar": frozenset({5})})
    assert "is_in" in str(Selection(divided, "val", left).restrict(None))


def test_a_split_without_a_share_is_not_there(divided, tmp_path):
    with pytest.raises(
        JobError, match="split: found 'test'; this dataset has 'train', 'val', 'all'"
    ):
        select(LocalStore(str(tmp_path)), divided, "test", near_train=False)
