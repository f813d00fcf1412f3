import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from factory.data import LatentBatch
from factory.errors import JobError, ShardError
from factory.generate.batch import ImageBatch, MaskBatch
from factory.make.to_host import start_samples, to_samples
from factory.spec import EncodeSpec

SIDE = 4


def batch_of(count, **more):
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, SIDE, SIDE, 3), generator=rng).byte()
    masks = torch.randint(3, (count, SIDE, SIDE), generator=rng).byte()
    class_px = torch.stack([(masks == label).sum(dim=(1, 2)) for label in range(3)], dim=1)
    latents = LatentBatch(
        indices=np.arange(10, 10 + count),
        z=np.zeros((count, 8), np.float32),
        class_labels=np.arange(count) - 1,
        truncation_psi=1.0,
        truncation_cutoff=None,
        noise_seed=None,
    )
    labelled = MaskBatch(masks, torch.arange(count) / 8, class_px, **more)
    return ImageBatch(images, {}), labelled, latents


def test_the_first_samples_of_a_batch_come_with_all_that_is_known_of_them():
    batch, labelled, latents = batch_of(
        3,
        confidence_by_px=torch.full((3, SIDE, SIDE), 0.5),
        alpha=torch.full((3, SIDE, SIDE), 0.2),
        rejections=("", "small", ""),
        cleaned_px=torch.tensor([1, 2, 3]),
        agreement=torch.tensor([0.25, 0.5, 0.75]),
    )
    encode = EncodeSpec(confidence=True, alpha=True)
    found = to_samples(batch, labelled, latents, 2, encode)
    assert [sample.index for sample in found] == [10, 11]
    assert [sample.class_label for sample in found] == [-1, 0]
    assert [sample.confidence for sample in found] == [0, 0.125]
    assert [sample.rejection for sample in found] == ["", "small"]
    assert [sample.cleaned_px for sample in found] == [1, 2]
    assert [sample.agreement for sample in found] == [0.25, 0.5]
    for place, sample in enumerate(found):
        assert np.array_equal(sample.image, batch.images[place].numpy())
        assert np.array_equal(sample.mask, labelled.masks[place].numpy())
        assert sum(sample.class_px) == SIDE * SIDE
        assert set(sample.confidence_by_px.ravel()) == {128}
        assert set(sample.alpha_by_px.ravel()) == {51}


def test_what_a_method_does_not_have_stays_missing_and_encoders_count_for_a_cpu():
    sample = to_samples(*batch_of(2), 2)[0]
    left_out = ("rgba", "confidence_by_px", "alpha_by_px", "cleaned_px", "agreement", "counts")
    assert {name: getattr(sample, name) for name in left_out} == dict.fromkeys(left_out)


@pytest.mark.parametrize("wanted", ["confidence", "alpha"])
def test_what_is_asked_for_and_missing_is_told_before_anything_is_waited_for(wanted):
    with pytest.raises(JobError, match=f"dataset.encode.{wanted}: found true, but this segmenter"):
        start_samples(*batch_of(2), 2, EncodeSpec(**{wanted: True}))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_confidence_that_is_no_number_is_told_with_its_sample_and_padding_may_have_it(bad):
    batch, labelled, latents = batch_of(3)
    sick = replace(labelled, confidence=torch.tensor([0.5, bad, bad]))
    assert len(to_samples(batch, sick, latents, 1)) == 1
    with pytest.raises(
        ShardError, match=r"sample 000000011: its mask has the confidence (nan|inf): "
    ):
        to_samples(batch, sick, latents, 2)
