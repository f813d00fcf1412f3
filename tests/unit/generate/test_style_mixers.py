"""Mixed styles: the coarse part computed once gives what the whole synthesis of mixed rows gives."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from contract.test_generators import BUILT, build, draw
from families import CPU, load_tensors, save_weights
from safetensors.torch import load_file, save_file

from factory.generate.base import StyleMixer, load_generator
from factory.generate.style_based import StyleBased
from factory.spec import GeneratorSpec
from unit.generate.test_stylegan2_parity import CASES, PARITY, load

TOLERANCE = 2e-4


def looks_of(generator, base, count=3, psi=0.7):
    rng = np.random.default_rng(5)
    return dataclasses.replace(
        base,
        indices=base.indices.repeat(count),
        z=np.stack([generator.draw_z(rng) for _ in range(count)]),
        class_labels=base.class_labels.repeat(count),
        truncation_psi=psi,
    )


def mixed_rows(base, looks, row):
    rows = base.repeat(len(looks), 1, 1)
    rows[:, row:] = looks[:, row:]
    return rows


def furthest(first, second):
    assert first.shape == second.shape
    return float((first - second).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("case", [name for name in CASES if "stylemix" not in name])
@torch.inference_mode()
def test_stylegan2_mixes_as_its_synthesis_does_from_every_layer_on(case, tmp_path):
    facts, _arrays, network = load(case)
    path = tmp_path / "weights.safetensors"
    save_file(
        load_file(PARITY / facts["weights_file"]),
        path,
        {"kwargs": json.dumps(facts["init_kwargs"]), "family": "stylegan2"},
    )
    generator = load_generator(GeneratorSpec(kind="stylegan2"), path, device=CPU)
    base = draw(generator, [0])
    looks = looks_of(generator, base)
    noise = network.const_noise()
    assert isinstance(generator, StyleBased)
    assert generator.styles(base).shape[1:] == generator.facts.spaces["w_plus"]
    base_rows, look_rows = generator.styles(base), generator.styles(looks)
    assert generator.facts.styles.layers == tuple(generator.facts.layers)[1:]
    for row, start in enumerate(generator.facts.styles.layers, start=1):
        whole, _ = network.synthesise(mixed_rows(base_rows, look_rows, row), noise)
        shared = generator.mix(base, looks, start, generator.facts.resolution)
        assert furthest(shared, whole.expand(-1, 3, -1, -1)) < TOLERANCE, start


@torch.inference_mode()
def test_a_stop_at_small_colours_is_what_the_next_block_builds_on():
    generator = build("stylegan2")
    base = draw(generator, [0])
    looks = looks_of(generator, base)
    network = generator.network
    assert generator.facts.styles.sides == (4, 8, 16, 32, 64)
    rows = mixed_rows(generator.styles(base), generator.styles(looks), 4)
    noise = network.const_noise()
    last = network.blocks[-1]
    x = network.synthesise(rows, noise, ["b64.conv1"])[1]["b64.conv1"]
    small = generator.mix(base, looks, "b16.conv1", 32)
    whole = last.upsample_image(small) + last.to_rgb(x, rows[:, -1])
    assert furthest(whole, network.synthesise(rows, noise)[0]) < TOLERANCE


@pytest.mark.parametrize("case", [name for name in CASES if "orig" in name or "resnet" in name])
def test_architectures_with_colours_at_the_end_alone_offer_no_early_stop(case, tmp_path):
    facts, _, _ = load(case)
    path = tmp_path / "weights.safetensors"
    tensors = load_file(PARITY / facts["weights_file"])
    save_file(tensors, path, {"kwargs": json.dumps(facts["init_kwargs"])})
    generator = load_generator(GeneratorSpec(kind="stylegan2"), path, device=CPU)
    assert generator.facts.styles.sides == (generator.facts.resolution,)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sg3t_64_psi1", "sg3r_64_psi1", "stylegan1_genforce_64"])
@torch.inference_mode()
def test_the_other_families_mix_as_their_synthesis_does(name, tmp_path):
    kind = "stylegan1" if "stylegan1" in name else "stylegan3"
    path = save_weights(tmp_path, name)
    generator = load_generator(GeneratorSpec(kind=kind), path, device=CPU)
    assert load_tensors(name)
    base = draw(generator, [0])
    looks = looks_of(generator, base, psi=1.0)
    network = generator.network
    assert isinstance(generator, StyleBased)
    assert generator.styles(base).shape[1:] == generator.facts.spaces["w_plus"]
    base_rows, look_rows = generator.styles(base), generator.styles(looks)
    more = (network.const_noise(),) if kind == "stylegan1" else ()
    layers = tuple(generator.facts.layers)
    assert generator.facts.styles.sides == (64,)
    for start in generator.facts.styles.layers:
        row = layers.index(start) + (0 if kind == "stylegan1" else 1)
        whole = network.synthesise(mixed_rows(base_rows, look_rows, row), *more)[0]
        assert furthest(generator.mix(base, looks, start, 64), whole) < TOLERANCE, start


@pytest.mark.parametrize("kind", BUILT)
@torch.inference_mode()
def test_a_base_in_its_own_styles_is_its_own_image(kind):
    generator = build(kind)
    assert isinstance(generator, StyleMixer)
    base = draw(generator, [4])
    start, side = generator.facts.styles.layers[0], generator.facts.resolution
    colours = generator.mix(base, base, start, side)[0].permute(1, 2, 0)
    image = generator.generate(base, ()).images[0]
    pixels = (colours * 127.5 + 128).clamp(0, 255)
    assert (pixels - image).abs().max() <= 1.01


@torch.inference_mode()
def test_variants_keep_the_noise_of_their_base():
    generator = build("stylegan2", noise="per_sample")
    base = draw(generator, [7], noise="per_sample")
    colours = generator.mix(base, base, "b8.conv0", 64)[0].permute(1, 2, 0)
    image = generator.generate(base, ()).images[0]
    assert ((colours * 127.5 + 128).clamp(0, 255) - image).abs().max() <= 1.01
