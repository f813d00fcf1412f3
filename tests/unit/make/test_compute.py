import numpy as np
import pytest
import torch
from small_job import Witness, small_job

from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.batch import MaskBatch
from factory.generate.latents import LatentSampler
from factory.job import run_job
from factory.make.compute import compute_samples
from factory.manifest.labels import MaskClass
from factory.spec import EncodeSpec

CPU = torch.device("cpu")


class Halves:
    """A segmenter of the left and the right half, which tells confidence by pixel if it is told."""

    labels = tuple(MaskClass(id=i, name=n, colour=(i, 0, 0)) for i, n in enumerate(("l", "r")))
    layers = ()

    def __init__(self, by_px=None):
        self._by_px = by_px

    def segment(self, batch):
        count, height, width = batch.images.shape[:3]
        masks = torch.zeros(count, height, width, dtype=torch.uint8)
        masks[..., width // 2 :] = 1
        px = torch.full((count, 2), height * width // 2)
        return MaskBatch(masks, torch.full((count,), 0.5), px, self._by_px)


def make_blind(spec, fitted, facts, device):
    """The plugin of the test below."""
    return Halves()


def compute(folder, segmenter, **wanted):
    dataset = small_job(folder).dataset
    generator = load_generator(dataset.generator, None, device=CPU)
    latents = LatentSampler(generator, dataset.latents, dataset.generator).draw(range(4))
    return compute_samples(generator, segmenter, latents, 3, EncodeSpec(**wanted))


def test_confidence_by_pixel_is_carried_only_when_it_is_asked_for(tmp_path):
    by_px = torch.rand(4, 32, 32)
    plain = compute(tmp_path, Halves(by_px))
    assert [sample.confidence_by_px for sample in plain] == [None] * 3
    found = compute(tmp_path, Halves(by_px), confidence=True)
    for sample, wanted in zip(found, by_px.numpy(), strict=False):
        assert np.abs(sample.confidence_by_px - wanted * 255).max() <= 0.5 + 1e-4


def test_a_segmenter_without_confidence_by_pixel_cannot_be_asked_for_it(tmp_path):
    text = (
        "dataset.encode.confidence: found true, but this segmenter has no confidence by pixel; "
        "leave it out"
    )
    assert len(compute(tmp_path, Halves())) == 3
    with pytest.raises(JobError) as caught:
        compute(tmp_path, Halves(), confidence=True)
    assert str(caught.value) == text
    plugin = {
        "dataset.segmenter": {"kind": "unit.make.test_compute:make_blind"},
        "dataset.encode": {"confidence": True},
    }
    with pytest.raises(JobError, match=text):
        run_job(small_job(tmp_path, plugin), Witness())
