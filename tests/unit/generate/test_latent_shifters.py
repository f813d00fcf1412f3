"""Moved latents: no move changes nothing, and images tell how they depend on one."""

import pytest
import torch
from contract.test_generators import BUILT, build, draw
from families import CASES, CPU, NETWORKS, save_weights

from factory.errors import JobError
from factory.generate.base import LatentShifter, load_generator
from factory.generate.numerics import to_bytes
from factory.generate.spaces import W_PLUS, W, shift_styles, shift_z, style_spaces
from factory.spec import GeneratorSpec

FAMILIES = [*BUILT, *NETWORKS]


@pytest.fixture(scope="module", params=FAMILIES)
def generator(request, tmp_path_factory):
    if request.param in BUILT:
        return build(request.param)
    path = save_weights(tmp_path_factory.mktemp("weights"), request.param)
    spec = GeneratorSpec(kind=CASES[request.param].kind)
    return load_generator(spec, path, device=CPU)


def psi_of(generator):
    return {} if type(generator).__name__ == "PGGAN" else {"truncation_psi": 0.6}


def no_shift(generator, space, count):
    return torch.zeros(count, *generator.facts.spaces[space])


def test_it_has_the_latent_that_is_drawn_among_its_spaces(generator):
    assert isinstance(generator, LatentShifter)
    assert generator.facts.spaces["z"] == draw(generator, [0]).z[0].shape


def test_without_a_shift_the_images_are_those_that_are_generated(generator):
    latents = draw(generator, range(3), **psi_of(generator))
    with torch.inference_mode():
        images = generator.generate(latents, ()).images.int()
        for space in generator.facts.spaces:
            colours = generator.shifted(latents, space, no_shift(generator, space, 3))
            assert colours.dtype == torch.float32
            # Families round to bytes in two ways, which differ by one at most.
            apart = (to_bytes(colours.clone()).int() - images).abs()
            assert apart.max() <= 1


def test_the_gradient_is_the_slope_of_the_images(generator):
    if type(generator).__name__ == "ShapesGenerator":
        pytest.skip(
            "its edges and colours are steps, whose gradients are those of slopes beside them"
        )
    latents = draw(generator, range(2), **psi_of(generator))
    torch.manual_seed(3)
    for space in generator.facts.spaces:
        shift = 0.1 * torch.randn(2, *generator.facts.spaces[space])
        shift.requires_grad_()
        seen = generator.shifted(latents, space, shift)
        weights = torch.randn_like(seen) / seen[0].numel() ** 0.5
        (slope,) = torch.autograd.grad((seen * weights).sum(), shift)
        assert slope.abs().sum() > 0
        along = slope / slope.norm()
        with torch.no_grad():
            step = 1e-3
            ahead, behind = (
                (generator.shifted(latents, space, shift + sign * step * along) * weights).sum()
                for sign in (1, -1)
            )
        measured = float(ahead - behind) / (2 * step)
        assert measured == pytest.approx(float(slope.norm()), rel=0.1)


def test_each_sample_moves_by_its_own_shift(generator):
    latents = draw(generator, range(3), **psi_of(generator))
    space = next(iter(generator.facts.spaces))
    with torch.inference_mode():
        shift = no_shift(generator, space, 3)
        plain = generator.shifted(latents, space, shift)
        shift[1] += 0.5
        moved = generator.shifted(latents, space, shift)
    apart = (moved - plain).abs().mean(dim=(1, 2, 3))
    assert apart[1] > 100 * max(apart[0], apart[2])


def test_a_space_it_does_not_have_is_refused_with_those_that_it_has(generator):
    latents = draw(generator, [0], **psi_of(generator))
    with pytest.raises(JobError, match=r"segmenter\.space: found 'y'.*z"):
        generator.shifted(latents, "y", torch.zeros(1, 4))


@pytest.mark.parametrize("case", ["sg3t_64_psi1", "stylegan1_genforce_64"])
def test_the_same_shift_in_every_row_is_a_shift_of_the_style(case, tmp_path):
    generator = load_generator(
        GeneratorSpec(kind=CASES[case].kind), save_weights(tmp_path, case), device=CPU
    )
    latents = draw(generator, range(2))
    rows, width = generator.facts.spaces["w_plus"]
    shift = torch.randn(2, width)
    with torch.inference_mode():
        one = generator.shifted(latents, "w", shift)
        all_rows = generator.shifted(latents, "w_plus", shift[:, None].expand(-1, rows, -1))
    assert torch.equal(one, all_rows)


def test_a_shift_of_z_is_added_after_truncation():
    latents = draw(build("shapes"), range(2), truncation_psi=0.5)
    shift = torch.ones(2, 16)
    fed = shift_z(latents, shift)[:, 0] * latents.truncation_psi
    torch.testing.assert_close(fed, torch.from_numpy(latents.z) * 0.5 + 1)


def test_rows_of_styles_move_together_in_w_and_one_by_one_in_w_plus():
    assert style_spaces(4, 3, 2) == {"w_plus": (2, 3), "w": (3,), "z": (4,)}
    z, rows = torch.zeros(5, 1, 4), torch.zeros(5, 2, 3)
    both = shift_styles(lambda _: rows, z, W, torch.ones(5, 3))
    assert torch.equal(both, torch.ones(5, 2, 3))
    each = torch.arange(30.0).view(5, 2, 3)
    assert torch.equal(shift_styles(lambda _: rows, z, W_PLUS, each), each)
