import numpy as np
import pytest
import torch

from factory.errors import WeightsError
from factory.generate.latents import LatentSampler
from factory.generate.shapes import PARTS, ShapesGenerator
from factory.spec import GeneratorSpec, LatentsSpec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def generator():
    return ShapesGenerator(GeneratorSpec(kind="shapes"), None, CPU)


def draw(generator, count, psi=1.0):
    spec = LatentsSpec(truncation_psi=psi)
    return LatentSampler(generator, spec, GeneratorSpec(kind="shapes")).draw(range(count))


def test_every_part_shows_in_most_exact_masks(generator):
    masks = generator.masks(draw(generator, 64))
    assert masks.min() == 0
    assert masks.max() == len(PARTS) - 1
    for part in range(len(PARTS)):
        assert (masks == part).flatten(1).any(1).float().mean() > 0.9


def test_the_image_has_one_colour_in_each_part_of_its_exact_mask(generator):
    latents = draw(generator, 16)
    images = generator.generate(latents, ()).images.float()
    masks = generator.masks(latents)
    for image, mask in zip(images, masks, strict=True):
        for part in mask.unique():
            inside = image[mask == part]
            assert (inside - inside.median(dim=0).values).abs().max() < 6 * 6


def test_the_colours_are_those_of_the_latent(generator):
    latents = draw(generator, 8)
    images = generator.generate(latents, ()).images.float()
    masks = generator.masks(latents)
    for z, image, mask in zip(latents.z, images, masks, strict=True):
        wanted = np.clip(np.round(z[4:16].reshape(4, 3) * 25 + 128), 0, 255)
        found = image[mask == 0].mean(dim=0).numpy()
        assert np.abs(found - wanted[0]).max() < 6


def test_no_truncation_left_means_one_mask_for_all(generator):
    masks = generator.masks(draw(generator, 4, psi=0.0))
    assert (masks == masks[0]).all()
    assert not (generator.masks(draw(generator, 4)) == masks).all()


def test_features_tell_the_parts_apart(generator):
    latents = draw(generator, 16)
    maps = generator.generate(latents, ["s32"]).features["s32"]
    vectors = maps.permute(0, 2, 3, 1).flatten(0, 2)
    parts = generator.masks(latents).flatten()
    means = torch.stack([vectors[parts == part].mean(dim=0) for part in range(len(PARTS))])
    nearest = torch.cdist(vectors, means).argmin(dim=1)
    assert (nearest == parts).float().mean() > 0.99


def test_precision_is_that_of_the_features():
    half = ShapesGenerator(GeneratorSpec(kind="shapes", precision="bfloat16"), None, CPU)
    batch = half.generate(draw(half, 2), ["s8"])
    assert batch.features["s8"].dtype == torch.bfloat16
    assert batch.images.dtype == torch.uint8


def test_weights_are_refused(tmp_path):
    with pytest.raises(WeightsError) as caught:
        ShapesGenerator(GeneratorSpec(kind="shapes"), tmp_path, CPU)
    assert str(caught.value) == (
        "dataset.generator.weights: shapes has no weights; remove the setting"
    )
