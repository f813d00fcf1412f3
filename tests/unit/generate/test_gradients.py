"""Gradients flow through every family, from feature maps and colours back to latents."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from families import CASES, CPU, GOLDEN, NETWORKS, save_weights

from factory.data import LatentBatch
from factory.errors import JobError
from factory.generate.base import DifferentiableGenerator, Generator, load_generator
from factory.generate.batch import Rendering
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import find_weights
from factory.spec import GeneratorSpec, LatentsSpec

STYLEGAN2 = ["sg2ada_u32_resnet_clamp", "sg2ada_c32_psi07", "sg2ada_u32_orig_clamp"]
NAMES = [*NETWORKS, *STYLEGAN2, "shipped:blood_cells", "shapes"]
SINGLE = [
    "biggan_deep_hf_64_t04",
    "biggan_aj_64",
    "biggandeep_aj_64",
    "pggan_genforce_64",
    "dcgan_64",
]


def load(name, folder):
    if name == "shapes":
        return load_generator(GeneratorSpec(kind=name), None, device=CPU)
    if ":" in name:
        spec = GeneratorSpec(kind="stylegan2", weights=name)
        return load_generator(spec, find_weights(spec).path, device=CPU)
    if name in STYLEGAN2:
        path = GOLDEN / "parity" / f"{name}.safetensors"
        return load_generator(GeneratorSpec(kind="stylegan2"), path, device=CPU)
    path = save_weights(folder, name)
    return load_generator(GeneratorSpec(kind=CASES[name].kind), path, device=CPU)


@pytest.fixture(params=NAMES)
def generator(request, tmp_path) -> Generator:
    return load(request.param, tmp_path)


def draw(generator: Generator, count: int = 2) -> LatentBatch:
    spec = GeneratorSpec(kind="any")
    return LatentSampler(generator, LatentsSpec(seed=3), spec).draw(range(count))


def everything_of(made: Rendering) -> torch.Tensor:
    """A smooth function of all colours and feature maps."""
    total = torch.zeros((), dtype=torch.float64)
    for place, found in enumerate((made.colours, *made.features.values())):
        maps = found.double()
        wave = torch.sin(torch.arange(maps[0].numel()) * (place + 1.0)).view_as(maps[0])
        total = total + (maps * wave).sum() / maps[0].numel() ** 0.5
    return total


def test_with_one_row_it_is_what_generate_makes(generator):
    assert isinstance(generator, DifferentiableGenerator)
    latents, layers = draw(generator), list(generator.facts.layers)
    batch = generator.generate(latents, layers)
    made = generator.render(torch.from_numpy(latents.z)[:, None], latents, layers)
    assert torch.equal(made.to_pixels(made.colours)[..., :3], batch.images)
    assert list(made.features) == layers
    for layer in layers:
        assert torch.equal(made.features[layer], batch.features[layer])


@pytest.mark.slow
def test_the_slope_along_a_direction_is_that_of_finite_differences(generator):
    if generator.facts.resolution == 32 and not hasattr(generator, "network"):
        pytest.skip("edges of the toy have no slope")
    latents, layers = draw(generator), list(generator.facts.layers)
    z = torch.from_numpy(latents.z)[:, None]
    leaf = z.clone().requires_grad_()
    everything_of(generator.render(leaf, latents, layers)).backward()
    slope = float(leaf.grad.norm())
    toward = leaf.grad / slope  # the steepest one: others drown in rounding and in the ReLUs' kinks
    step = 5e-4
    ahead, behind = (
        float(everything_of(generator.render(z + sign * step * toward, latents, layers)))
        for sign in (1, -1)
    )
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=0.05)


def test_equal_rows_are_one_row_and_each_row_has_its_own_layers(generator):
    latents, layers = draw(generator), list(generator.facts.layers)
    rows = generator.latent_rows
    z = torch.from_numpy(latents.z)[:, None]
    one = generator.render(z, latents, layers)
    same = generator.render(z.repeat(1, rows, 1), latents, layers)
    torch.testing.assert_close(same.colours, one.colours, atol=1e-4, rtol=1e-3)
    if rows == 1:
        return
    leaf = z.repeat(1, rows, 1).requires_grad_()
    everything_of(generator.render(leaf, latents, layers)).backward()
    assert (leaf.grad.abs().amax(dim=2) > 0).all()  # every row is used
    last = z.repeat(1, rows, 1)
    last[:, -1] = last[:, -1].flip(0)
    changed = generator.render(last, latents, layers)
    assert torch.equal(changed.features[layers[0]], same.features[layers[0]])
    assert not torch.allclose(changed.colours, same.colours)


@pytest.mark.parametrize("name", SINGLE)
def test_several_latents_of_one_image_are_refused_by_families_without_style_rows(name, tmp_path):
    generator = load(name, tmp_path)
    latents = draw(generator)
    z = torch.from_numpy(latents.z)[:, None].repeat(1, 3, 1)
    with pytest.raises(JobError, match="3 latents for one image; this generator has no style rows"):
        generator.render(z, latents, ())


def test_the_toy_moves_a_disc_towards_where_it_is_wanted(tmp_path):
    toy = load("shapes", tmp_path)
    latents = draw(toy, 1)
    elsewhere = replace(latents, z=latents.z + np.float32([[0.8, -0.6, 0, 0.5, *[0] * 12]]))
    wanted = toy.render(torch.from_numpy(elsewhere.z)[:, None], elsewhere, ["s32"])
    leaf = torch.from_numpy(latents.z)[:, None].requires_grad_()
    made = toy.render(leaf, latents, ["s32"])
    (made.features["s32"] - wanted.features["s32"]).square().mean().backward()
    moved = torch.from_numpy(elsewhere.z - latents.z)
    assert float((leaf.grad[:, 0, :4] * moved[:, :4]).sum()) < 0
