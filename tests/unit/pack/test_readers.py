import gc

import numpy as np
import pytest
import webdataset
import wids
from small_job import make_small
from torch.utils.data import DataLoader

from factory.pack.image import decode_image, decode_mask
from factory.pack.tar import read_members

# webdataset leaves closing its shards to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers")
    make_small(folder)
    return folder / "out"


@pytest.fixture(scope="module")
def pairs(root):
    """Image and mask of each key, read without any reader."""
    found = {}
    for path in sorted((root / "data/train").iterdir()):
        for name, data in read_members(path):
            key, _, ending = name.partition(".")
            if ending == "image.png":
                found[key] = [decode_image(data)]
            elif ending == "mask.png":
                found[key].append(decode_mask(data))
    return found


def as_arrays(sample):
    return {
        "key": sample["__key__"],
        "image": np.array(sample["image.png"]),
        "mask": np.array(sample["mask.png"])[..., 0],  # the decoder `pil` makes RGB of grey
        "facts": sample["json"],
    }


def assert_equal_pairs(samples, pairs):
    assert sorted(sample["key"] for sample in samples) == sorted(pairs)
    for sample in samples:
        image, mask = pairs[sample["key"]]
        assert np.array_equal(sample["image"], image)
        assert np.array_equal(sample["mask"], mask)
        assert np.asarray(sample["mask"]).dtype == np.uint8
        assert sample["facts"]["key"] == sample["key"]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_webdataset_reads_every_pair_once(root, pairs, num_workers):
    pattern = f"{root}/data/train/tiny-{{000000..000002}}.tar"
    stream = webdataset.WebDataset(pattern, shardshuffle=False).decode("pil").map(as_arrays)
    loader = DataLoader(stream, batch_size=None, num_workers=num_workers)
    samples = list(loader)
    gc.collect()
    assert_equal_pairs(samples, pairs)


@pytest.mark.filterwarnings("ignore:String specifications for transformations:UserWarning")
def test_wids_reads_every_pair_by_its_number(root, pairs, tmp_path):
    dataset = wids.ShardListDataset(
        str(root / "index/train.wids.json"), cache_dir=str(tmp_path / "cache"), keep=True
    )
    assert len(dataset) == 13
    samples = [dataset[index] for index in range(13)]
    assert_equal_pairs(
        [
            {
                "key": sample["__key__"],
                "image": np.asarray(sample[".image.png"]),
                "mask": np.asarray(sample[".mask.png"]),
                "facts": sample[".json"],
            }
            for sample in samples
        ],
        pairs,
    )
    assert [sample["__key__"] for sample in samples] == sorted(pairs)
