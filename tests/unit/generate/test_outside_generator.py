"""The documented example of a generator from outside: a whole plugin in one file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from factory.errors import JobError, WeightsError
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.spec import GeneratorSpec, LatentsSpec

TESTS = Path(__file__).parents[2]
WEIGHTS = TESTS / "golden" / "generators" / "anime_dcgan64.safetensors"
KIND = "anime_dcgan:AnimeDCGAN"


@pytest.fixture(autouse=True)
def plugin_is_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(TESTS / "plugins"))


def load(**settings: str):
    spec = GeneratorSpec(kind=KIND, weights=str(WEIGHTS), **settings)
    return load_generator(spec, WEIGHTS, device=torch.device("cpu"))


def draw(generator, count, psi=1.0):
    latents = LatentsSpec(seed=1, truncation_psi=psi)
    return LatentSampler(generator, latents, GeneratorSpec(kind=KIND)).draw(range(count))


def test_it_offers_what_its_facts_say():
    generator = load()
    batch = generator.generate(draw(generator, 3), list(generator.facts.layers))
    assert tuple(batch.images.shape) == (3, 64, 64, 3)
    shapes = {name: tuple(maps.shape[1:]) for name, maps in batch.features.items()}
    assert shapes == {
        name: (shape.channels, shape.height, shape.width)
        for name, shape in generator.facts.layers.items()
    }


def test_its_images_are_drawings_of_faces():
    generator = load()
    images = generator.generate(draw(generator, 64), []).images.float() / 255
    mean = images.mean(dim=0)
    # faces: skin in the middle is bright and reddish, hair above it is darker, drawings differ
    face, hair = mean[38:50, 26:38].mean(dim=(0, 1)), mean[4:12, 20:44].mean(dim=(0, 1))
    assert face[0] > face[2]
    assert face.mean() > hair.mean() + 0.1
    assert images.std(dim=0).mean() > 0.15
    # and a face is more like its mirror image than like itself upside down
    sideways, upside_down = ((mean - mean.flip(axis)).abs().mean() for axis in (1, 0))
    assert sideways < 0.6 * upside_down


def test_a_sample_does_not_depend_on_its_neighbours():
    generator = load()
    together = generator.generate(draw(generator, 4), ["up.3"]).features["up.3"]
    alone = generator.generate(draw(generator, 1), ["up.3"]).features["up.3"]
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_truncation_pulls_images_together():
    generator = load()
    spread = [
        generator.generate(draw(generator, 16, psi), []).images.float().std(dim=0).mean()
        for psi in (1.0, 0.3)
    ]
    assert spread[1] < spread[0]


def test_latents_come_from_the_given_random_numbers_alone():
    generator = load()
    first, second = (generator.draw_z(np.random.default_rng(2)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"precision": "float16"}, "precision"), ({"noise": "per_sample"}, "no noise inputs")],
)
def test_settings_it_cannot_keep_are_refused(settings, message):
    with pytest.raises(JobError, match=message):
        load(**settings)


def test_it_needs_its_own_weights():
    spec = GeneratorSpec(kind=KIND)
    with pytest.raises(WeightsError, match="missing"):
        load_generator(spec, None, device=torch.device("cpu"))
    other = TESTS / "golden" / "parity" / "dcgan_64.safetensors"
    with pytest.raises(WeightsError, match=r"'fc\.weight' is missing"):
        load_generator(spec, other, device=torch.device("cpu"))


def test_an_unknown_feature_map_is_refused():
    generator = load()
    with pytest.raises(JobError, match=r"no feature map 'nose'; this generator has up\.0"):
        generator.generate(draw(generator, 1), ["nose"])
