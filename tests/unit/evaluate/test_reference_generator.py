import numpy as np
import pytest
from small_job import make_small

from factory.errors import JobError, PluginError
from factory.evaluate.open_reference import open_reference
from factory.evaluate.reference import ImageInput, Reference, ScoredSample
from factory.generate.shapes import PARTS
from factory.store import open_store

TRUTH = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_small(folder)
    return open_store(str(folder / "out"))


def sample(key, side=None, image=None):
    shape = TRUTH.shape if side is None else (side, side)
    return ScoredSample(key, np.zeros(shape, np.uint8), image)


def known(path, store, images=None):
    reference = open_reference(str(path), store, images or ImageInput())
    assert isinstance(reference, Reference)
    return reference


def refusal(path, store):
    with pytest.raises((JobError, PluginError)) as caught:
        known(path, store).masks([sample("a", image=np.zeros((3, 4, 3), np.uint8))])
    return str(caught.value)


def test_a_generator_that_knows_its_masks_is_a_reference(store):
    found = known("generator", store)
    assert found.classes == PARTS
    several = found.masks([sample("000000003", side=32), sample("000000004", side=32)])
    alone = found.masks([sample("000000004", side=32)])
    assert (several[1] == alone[0]).all()
    assert (several[0] != several[1]).any()
    assert several[0].dtype == np.uint8


def test_a_generator_without_exact_masks_is_rejected(tmp_path):
    make_small(
        tmp_path,
        {"dataset.generator": {"kind": "stylegan2", "weights": "shipped:blood_cells"},
         "dataset.num_samples": 4},
    )  # fmt: skip
    with pytest.raises(PluginError) as caught:
        known("generator", open_store(str(tmp_path / "out")))
    assert str(caught.value) == (
        "--reference: generator 'stylegan2' has no exact masks for its images; give masks as "
        "files or a segmenter as TorchScript or ONNX"
    )
