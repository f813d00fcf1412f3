import numpy as np
import pytest
from small_job import make_small

import factory
from factory.edit.own_layouts import read_own_layouts
from factory.errors import DamageError
from factory.store import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_small(folder, {"dataset.oversample": 1.5})
    return open_store(str(folder / "out"))


def test_masks_of_samples_are_layouts_named_by_their_keys(store):
    layouts = read_own_layouts(store, (2, 9), "train", num_classes=4, side=32)
    dataset = factory.open_dataset(store.uri)
    assert layouts.names == ("000000002", "000000009")
    expected = np.stack([dataset["000000009"].mask, dataset["000000002"].mask])
    assert np.array_equal(layouts.masks(np.array([5, 4])), expected), "in turn, by index"


@pytest.mark.parametrize("index", [7, 10**6], ids=["a spare index", "beyond the plan"])
def test_a_sample_that_is_not_there_is_named(store, index):
    with pytest.raises(DamageError, match=rf"sample {index:09d}: not there, though the plan takes"):
        read_own_layouts(store, (index,), "train", num_classes=4, side=32)


def test_a_mask_of_another_dataset_is_refused(store):
    with pytest.raises(
        DamageError, match=r"sample 000000000: its mask is no layout \(one has 32 x 32"
    ):
        read_own_layouts(store, (0,), "train", num_classes=4, side=64)
    with pytest.raises(
        DamageError, match=r"its mask is no layout \(one has other values than 0 to 0"
    ):
        read_own_layouts(store, (0,), "train", num_classes=1, side=32)


def test_samples_of_other_splits_are_left_out(tmp_path):
    shares = {"train": 0.5, "val": 0.5, "test": 0.0}
    make_small(tmp_path, {"dataset.splits": shares, "dataset.samples_per_shard": 3})
    store = open_store(str(tmp_path / "out"))
    keys = {
        split: [sample.key for sample in factory.open_dataset(store.uri, split=split)]
        for split in ("train", "val")
    }
    everything = tuple(range(13))
    for split, inside in keys.items():
        layouts = read_own_layouts(store, everything, split, num_classes=4, side=32)
        assert list(layouts.names) == inside
    in_training = tuple(map(int, keys["train"]))
    assert read_own_layouts(store, in_training, "val", num_classes=4, side=32) is None
