"""The README's lines that read a dataset, run on one; `test_named_job.py` runs the others."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_job import make_small

import factory

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    sizes = {"dataset.num_samples": 32, "dataset.samples_per_shard": 2}
    uri = {"name": "blood_cells", "output.uri": str(folder / "out/blood_cells")}
    make_small(folder, sizes | uri)
    return folder


def block_with(word):
    found = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if word in text]
    assert len(found) == 1, word
    return found[0]


def test_our_reader_gives_samples_and_a_dataset_for_a_loader(beside, monkeypatch):
    monkeypatch.chdir(beside)
    names = {}
    exec(block_with("to_torch"), names)
    sample = names["sample"]
    assert len(names["dataset"]) == 32
    assert sample.key == "000000017"
    assert sample.image.shape == (*sample.mask.shape, 3)
    assert sample.facts.index == 17
    assert sorted(pair["key"] for pair in names["pairs"]) == [f"{n:09d}" for n in range(32)]


def test_webdataset_reads_the_same_masks(beside):
    told = "\nimport numpy\nnumpy.savez('last', mask=mask, image=image.convert('RGB'), key=facts['key'])"
    # In a process of its own: its reader leaves files open.
    program = block_with("wds.WebDataset") + told
    subprocess.run([sys.executable, "-c", program], cwd=beside, check=True)
    found, ours = np.load(beside / "last.npz"), factory.open_dataset(beside / "out/blood_cells")[31]
    assert str(found["key"]) == ours.key
    assert np.array_equal(found["mask"], ours.mask)
    assert np.array_equal(found["image"], ours.image)
