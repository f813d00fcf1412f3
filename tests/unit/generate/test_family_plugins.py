"""Every family keeps the promise of a generator, and says no to what it cannot do."""

import dataclasses

import numpy as np
import pytest
import torch
from families import CASES, CPU, NETWORKS, load_tensors, save_weights
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stand_in import META, no_numbers

from factory.data import LatentBatch
from factory.errors import JobError, WeightsError
from factory.generate.base import Generator, load_generator
from factory.generate.latents import LatentSampler
from factory.spec import GeneratorSpec, LatentsSpec

WITHOUT_NOISE = [name for name in NETWORKS if "stylegan1" not in name]
WITH_CLASSES = [name for name in NETWORKS if "biggan" in name]
WITHOUT_STYLES = [*WITH_CLASSES, "pggan_genforce_64", "dcgan_64"]


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name in NETWORKS:
        save_weights(folder, name, license="CC0", attribution="nobody")
    return folder


@pytest.fixture
def load(weights_folder):
    def load_named(name: str, device: torch.device = CPU, **settings: str) -> Generator:
        spec = GeneratorSpec(kind=CASES[name].kind, **settings)
        return load_generator(spec, weights_folder / f"{name}.safetensors", device=device)

    return load_named


def draw(generator: Generator, count: int = 2, **latents: object) -> LatentBatch:
    spec = GeneratorSpec(kind="any", noise=latents.pop("noise", "const"))
    return LatentSampler(generator, LatentsSpec(seed=3, **latents), spec).draw(range(count))


@pytest.mark.parametrize("name", NETWORKS)
def test_facts_name_every_feature_map_with_its_shape(name, load):
    generator = load(name)
    batch = generator.generate(draw(generator), list(generator.facts.layers))
    side = generator.facts.resolution
    assert tuple(batch.images.shape) == (2, side, side, 3)
    assert batch.images.dtype == torch.uint8
    assert list(batch.features) == list(generator.facts.layers)
    for key, shape in generator.facts.layers.items():
        assert tuple(batch.features[key].shape) == (2, shape.channels, shape.height, shape.width)
    sides = [shape.width for shape in generator.facts.layers.values()]
    assert sides == sorted(sides)
    assert (generator.facts.license, generator.facts.attribution) == ("CC0", "nobody")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_everything_is_computed_on_the_given_device(name, load, precision, monkeypatch):
    generator = load(name, META, precision=precision)
    latents = draw(generator)
    with no_numbers(monkeypatch):
        batch = generator.generate(latents, list(generator.facts.layers))
    assert {maps.device for maps in (batch.images, *batch.features.values())} == {META}


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_latents_give_equal_images(name, load):
    generator = load(name)
    latents = draw(generator)
    first, second = generator.generate(latents, []), generator.generate(latents, [])
    assert torch.equal(first.images, second.images)
    assert not first.features
    assert not torch.equal(first.images[0], first.images[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_latents_are_float32_and_come_from_the_given_random_numbers_alone(name, load):
    generator = load(name)
    first, second = (generator.draw_z(np.random.default_rng(5)) for _ in range(2))
    assert first.dtype == np.float32
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_unknown_feature_map_is_refused_with_those_there_are(name, load):
    generator = load(name)
    known = next(iter(generator.facts.layers))
    with pytest.raises(JobError, match=rf"no feature map 'nose'; it has {known}"):
        generator.generate(draw(generator), ["nose"])


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_needed_and_must_be_whole(name, weights_folder, tmp_path):
    spec = GeneratorSpec(kind=CASES[name].kind)
    with pytest.raises(WeightsError, match=r"dataset\.generator\.weights: missing"):
        load_generator(spec, None, device=CPU)
    whole = weights_folder / f"{name}.safetensors"
    tensors = load_file(whole)
    broken = tmp_path / "broken.safetensors"
    kwargs = {"kwargs": _kwargs_of(whole)}
    save_file({**tensors, "surplus": torch.zeros(1)}, broken, kwargs)
    with pytest.raises(WeightsError, match="'surplus'"):
        load_generator(spec, broken, device=CPU)
    last = sorted(key for key in tensors if key.endswith("bias"))[-1]
    if "dcgan" not in name:  # which leaves out a bias as a matter of course
        del tensors[last]
        save_file(tensors, broken, kwargs)
        with pytest.raises(WeightsError):
            load_generator(spec, broken, device=CPU)


def _kwargs_of(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()["kwargs"]


@pytest.mark.parametrize("name", WITHOUT_NOISE)
def test_fresh_noise_is_refused_by_families_without_noise_inputs(name, load):
    with pytest.raises(JobError, match=r"found 'per_sample', but .* has no noise inputs"):
        load(name, noise="per_sample")
    const, none = load(name, noise="const"), load(name, noise="none")
    latents = draw(const)
    assert torch.equal(const.generate(latents, []).images, none.generate(latents, []).images)


def test_stylegan1_has_constant_fresh_and_no_noise(load):
    images = {}
    for noise in ("const", "none", "per_sample"):
        generator = load("stylegan1_genforce_64", noise=noise)
        images[noise] = generator.generate(draw(generator, noise=noise), []).images
    assert not torch.equal(images["const"], images["none"])
    assert not torch.equal(images["const"], images["per_sample"])
    again = load("stylegan1_genforce_64", noise="per_sample")
    alone = again.generate(draw(again, 1, noise="per_sample"), []).images
    difference = (alone[0].int() - images["per_sample"][0].int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 1e-3


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_the_class_changes_the_image_and_no_class_is_refused(name, load):
    generator = load(name)
    assert generator.facts.num_classes == 10
    latents = draw(generator, 1)
    images = [
        generator.generate(dataclasses.replace(latents, class_labels=np.array([label])), []).images
        for label in (0, 7)
    ]
    assert not torch.equal(*images)
    for label in (-1, 10):
        nowhere = dataclasses.replace(latents, class_labels=np.array([label]))
        with pytest.raises(JobError, match="needs one of 0 to 9 for every sample"):
            generator.generate(nowhere, [])


@pytest.mark.parametrize("name", WITHOUT_STYLES)
def test_a_truncation_cutoff_is_refused_by_families_without_style_rows(name, load):
    generator = load(name)
    with pytest.raises(JobError, match="has no style rows"):
        generator.generate(draw(generator, truncation_cutoff=4), [])


@pytest.mark.parametrize("name", ["sg3t_64_psi1", "stylegan1_genforce_64", "biggan_aj_64"])
def test_truncation_changes_images(name, load):
    generator = load(name)
    full, half = draw(generator), draw(generator, truncation_psi=0.5)
    assert not torch.equal(generator.generate(full, []).images, generator.generate(half, []).images)


def test_biggan_deep_has_statistics_only_for_truncations_up_to_one(load):
    generator = load("biggan_deep_hf_64_t04")
    for psi in (0.0, 1.5):
        with pytest.raises(JobError, match="above 0 and up to 1"):
            generator.generate(draw(generator, truncation_psi=psi), [])


def test_biggan_deep_latents_are_normal_and_end_at_two(load):
    generator = load("biggan_deep_hf_64_t04")
    rng = np.random.default_rng(0)
    z = np.concatenate([generator.draw_z(rng) for _ in range(2000)])
    assert np.abs(z).max() <= 2
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(0.8796, abs=0.01)  # of a standard normal cut off at 2


def test_pggan_has_no_truncation(load):
    generator = load("pggan_genforce_64")
    with pytest.raises(JobError, match=r"truncation_psi: found 0\.5; PGGAN normalises"):
        generator.generate(draw(generator, truncation_psi=0.5), [])


def test_dcgan_settings_that_shapes_do_not_show_come_from_the_files_kwargs(tmp_path):
    def save(kwargs: str) -> Generator:
        path = tmp_path / "weights.safetensors"
        save_file(load_tensors("dcgan_64"), path, {"kwargs": kwargs})
        spec = GeneratorSpec(kind=CASES["dcgan_64"].kind)
        return load_generator(spec, path, device=CPU)

    tanh = save("{}")
    sigmoid = save('{"output_activation": "sigmoid", "latent": "uniform"}')
    z = sigmoid.draw_z(np.random.default_rng(0))
    assert np.abs(z).max() < 1
    latents = draw(tanh)
    bright, _ = tanh.network.synthesise(torch.from_numpy(latents.z))
    soft, _ = sigmoid.network.synthesise(torch.from_numpy(latents.z))
    torch.testing.assert_close(soft, torch.tanh(torch.atanh(bright) / 2), atol=1e-5, rtol=0)
    with pytest.raises(WeightsError, match="output_activation is 'softmax'; allowed: tanh"):
        save('{"output_activation": "softmax"}')


def test_the_margin_around_stylegan3_maps_is_cut_off(load):
    generator = load("sg3t_64_psi1")
    latents = draw(generator)
    name = "L2_52_24"
    cropped = generator.generate(latents, [name]).features[name]
    ws = generator.network.styles(torch.from_numpy(latents.z), None)
    _, raw = generator.network.synthesise(ws, [name])
    assert tuple(cropped.shape[2:]) == (32, 32)
    assert torch.equal(cropped, raw[name][:, :, 10:42, 10:42])
    assert "input" not in generator.facts.layers
    assert "L8_64_3" not in generator.facts.layers
