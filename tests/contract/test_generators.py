"""The promise of `factory/generate/base.py`, held against every generator that can be built here."""

import numpy as np
import pytest
import torch

from factory.errors import WeightsError
from factory.generate import GENERATORS, SHIPPED
from factory.generate.base import Generator, load_generator
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import find_weights
from factory.spec import GeneratorSpec, LatentsSpec

CPU = torch.device("cpu")
SHIPPED_FOR = {"stylegan2": "shipped:blood_cells"}
WITHOUT_WEIGHTS = ["shapes"]
BUILT = [*WITHOUT_WEIGHTS, *SHIPPED_FOR]
NEED_A_FILE = sorted(set(GENERATORS.table) - set(WITHOUT_WEIGHTS))


def build(kind, **settings):
    spec = GeneratorSpec(kind=kind, weights=SHIPPED_FOR.get(kind, ""), **settings)
    return load_generator(spec, find_weights(spec).path, device=CPU)


@pytest.fixture(scope="module", params=BUILT)
def generator(request):
    with torch.inference_mode():
        yield build(request.param)


def draw(generator, indices, noise="const", **settings):
    spec = GeneratorSpec(kind="any", noise=noise)
    return LatentSampler(generator, LatentsSpec(**settings), spec).draw(list(indices))


def make(generator, latents, layers=()):
    with torch.inference_mode():
        return generator.generate(latents, layers)


def test_every_shipped_file_has_a_generator_in_this_contract():
    assert {f"shipped:{name}" for name in SHIPPED} == set(SHIPPED_FOR.values())


@pytest.mark.parametrize("kind", NEED_A_FILE)
def test_a_generator_that_needs_weights_says_so_when_there_are_none(kind):
    with pytest.raises(WeightsError, match=r"^dataset\.generator\.weights: missing; "):
        load_generator(GeneratorSpec(kind=kind), None, device=CPU)


@pytest.mark.parametrize("kind", NEED_A_FILE)
def test_a_generator_refuses_a_file_that_is_not_its_own(kind, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"hello")
    with pytest.raises(WeightsError, match=r"w\.safetensors: "):
        load_generator(GeneratorSpec(kind=kind), path, device=CPU)


def test_it_is_a_generator(generator):
    assert isinstance(generator, Generator)


def test_images_are_whole_rgb_bytes_of_the_promised_size(generator):
    images = make(generator, draw(generator, range(3))).images
    side = generator.facts.resolution
    assert images.shape == (3, side, side, 3)
    assert images.dtype == torch.uint8
    assert images.float().std() > 10


def test_every_feature_map_has_the_promised_shape_and_no_other_comes(generator):
    layers = list(generator.facts.layers)
    features = make(generator, draw(generator, range(2)), layers).features
    assert set(features) == set(layers)
    for name, shape in generator.facts.layers.items():
        assert features[name].shape == (2, shape.channels, shape.height, shape.width)
        assert torch.isfinite(features[name]).all()
    only = make(generator, draw(generator, range(2)), layers[:1]).features
    assert set(only) == set(layers[:1])


def test_feature_maps_run_from_coarse_to_fine(generator):
    heights = [shape.height for shape in generator.facts.layers.values()]
    assert heights == sorted(heights)
    assert heights[-1] <= generator.facts.resolution


def test_the_same_latents_give_the_same_images_and_features(generator):
    layers = list(generator.facts.layers)
    first = make(generator, draw(generator, range(4)), layers)
    second = make(generator, draw(generator, range(4)), layers)
    assert torch.equal(first.images, second.images)
    assert all(torch.equal(first.features[name], second.features[name]) for name in layers)


def test_asking_for_features_does_not_change_the_images(generator):
    latents = draw(generator, range(2))
    plain = make(generator, latents).images
    assert torch.equal(plain, make(generator, latents, list(generator.facts.layers)).images)


def test_another_sample_is_another_image(generator):
    images = make(generator, draw(generator, range(4))).images
    assert len({image.numpy().tobytes() for image in images}) == 4


def test_a_sample_does_not_depend_on_its_neighbours(generator):
    layers = list(generator.facts.layers)
    whole = make(generator, draw(generator, [5, 6, 7, 8]), layers)
    other = make(generator, draw(generator, [90, 6, 17, 90]), layers)
    apart = (whole.images[1].int() - other.images[1].int()).abs()
    assert apart.max() <= 1
    assert apart.float().mean() < 1e-2
    for name in layers:
        assert torch.allclose(whole.features[name][1], other.features[name][1], atol=1e-4)


def test_its_latents_are_left_alone(generator):
    latents = draw(generator, range(2))
    before = latents.z.copy()
    make(generator, latents, list(generator.facts.layers))
    assert np.array_equal(latents.z, before)


def test_full_truncation_gives_one_image_for_all(generator):
    latents = draw(generator, range(3), truncation_psi=0.0)
    images = make(generator, latents).images.int()
    assert (images - images[:1]).abs().float().mean() < 8


def test_latents_are_float32_and_all_of_one_width(generator):
    z = draw(generator, range(3)).z
    assert z.dtype == np.float32
    assert z.ndim == 2


def test_class_names_are_none_or_one_for_each_class(generator):
    assert len(generator.facts.class_names) in (0, generator.facts.num_classes)


@pytest.mark.parametrize("kind", BUILT)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_gives_nearly_the_same_images(kind, precision):
    exact, rough = build(kind), build(kind, precision=precision)
    latents = draw(exact, range(2))
    apart = make(exact, latents).images.float() - make(rough, latents).images.float()
    assert apart.abs().mean() < 6


@pytest.mark.parametrize("kind", SHIPPED_FOR)
def test_fresh_noise_is_a_function_of_the_sample_alone(kind):
    fresh = build(kind, noise="per_sample")
    first = make(fresh, draw(fresh, [3, 4], noise="per_sample")).images.int()
    again = make(fresh, draw(fresh, [9, 4], noise="per_sample")).images.int()
    const = make(build(kind), draw(fresh, [3, 4])).images.int()
    assert (first[1] - again[1]).abs().max() <= 1
    assert not torch.equal(first, const)


@pytest.mark.parametrize("kind", SHIPPED_FOR)
def test_a_generator_without_noise_differs_from_one_with_its_own(kind):
    none = build(kind, noise="none")
    latents = draw(none, range(2))
    assert not torch.equal(make(none, latents).images, make(build(kind), latents).images)
