"""The critic of an alpha fit starts as the discriminator in the weights file, if that is one we know."""

import logging
from pathlib import Path

import pytest
import torch
from discriminators import as_rosinality, nvidia, score
from layouts import as_rosinality as generator_as_rosinality
from painted import generated_pictures
from safetensors.torch import load_file
from small_job import small_job

from factory.checkpoint import Discriminator as Stored
from factory.checkpoint import read_checkpoint, write_safetensors
from factory.fit.alpha.critic import first_critic, own_critic, start_critic
from factory.fit.alpha.training import AlphaTraining, ImageSource
from factory.fit.cost import Probe, fit_seconds
from factory.fit.fitted import fit_segmenter
from factory.generate.base import load_generator
from factory.generate.numerics import Numerics
from factory.generate.weights.find import find_weights, read_discriminator, read_weights
from factory.segment.segmenter_file import decode_segmenter
from factory.spec import GeneratorSpec
from factory.train_generator.discriminator import Discriminator
from factory.train_generator.state import load_state
from factory.train_generator.step import step_rng

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]
OURS = load_file(ROOT / "tests" / "golden" / "parity" / "sg2ada_u64_psi1.safetensors")
MIXING = {"kind": "style_mixing"}
SETTINGS = {"img_resolution": 64, "img_channels": 3, "c_dim": 0, "conv_clamp": None,
            "lr_multiplier": 0.01, "shortcut": "filtered"}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def plain(tensors):
    return {name: one for name, one in tensors.items() if not name.endswith("resample_filter")}


def pictures(count=4, side=64):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def scores(start, images, side=64, *, dense=False):
    at = Numerics(CPU, torch.float32, dense=dense)
    return Discriminator(start.tensors, side, at, start.form)(images, None)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("num_statistics", [1, 4])
@pytest.mark.parametrize("clamp", [None, 1.5])
def test_it_scores_pictures_as_the_published_formulas_do(dense, num_statistics, clamp):
    tensors = nvidia(num_statistics=num_statistics)
    start = own_critic(Stored(plain(tensors), SETTINGS | {"conv_clamp": clamp}))
    limit = {} if clamp is None else {"clamp": clamp}
    wanted = score(tensors, pictures(), **limit)
    found = scores(start, pictures(), dense=dense)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert float(wanted.std()) > 1e-3
    if clamp is not None:
        assert not torch.allclose(found, score(tensors, pictures()), atol=1e-2), "it clamps"


def test_groups_of_four_are_scored_each_for_itself():
    start = own_critic(Stored(plain(nvidia()), SETTINGS))
    images = pictures(8)
    wanted = torch.cat([scores(start, images[:4]), scores(start, images[4:])])
    torch.testing.assert_close(scores(start, images), wanted, atol=1e-4, rtol=1e-4)


def test_one_with_classes_scores_their_mean():
    tensors = nvidia(num_classes=3)
    start = own_critic(Stored(plain(tensors), SETTINGS | {"c_dim": 3}))
    by_class = [score(tensors, pictures(), class_id) for class_id in range(3)]
    assert not torch.allclose(by_class[0], by_class[1], atol=1e-2)
    wanted = torch.stack(by_class).mean(dim=0)
    torch.testing.assert_close(scores(start, pictures()), wanted, atol=1e-4, rtol=1e-4)


def test_that_of_a_training_of_ours_scores_as_in_the_training():
    path = ROOT / "jobs" / "train" / "blood_cells_state.safetensors"
    stored = read_discriminator(GeneratorSpec(kind="stylegan2", weights=str(path)))
    trained = load_state(path, CPU).discriminator
    network = Discriminator(trained, 64, Numerics(CPU, torch.float32))
    by_class = [network(pictures(), row.expand(4, 5)) for row in torch.eye(5)]
    found = scores(own_critic(stored), pictures())
    torch.testing.assert_close(found, torch.stack(by_class).mean(dim=0), atol=1e-4, rtol=1e-4)


def weights_file(folder, discriminator=None):
    path = folder / "weights.pt"
    content = {"g_ema": generator_as_rosinality(OURS)}
    torch.save(content | ({"d": discriminator} if discriminator else {}), path)
    return path


def job(folder, path):
    generator = {"kind": "stylegan2", "weights": str(path)}
    if not (folder / "pictures").exists():
        shown = small_job(folder, {"dataset.generator": generator, "dataset.segmenter": MIXING})
        generated_pictures(folder / "pictures", shown.dataset, 4)
    section = {
        "kind": "alpha",
        "images": str(folder / "pictures"),
        "steps": 2,
        "images_per_step": 4,
    }
    overrides = {"dataset.generator": generator, "dataset.segmenter": section}
    return small_job(folder, overrides).dataset


def training(dataset):
    generator = load_generator(dataset.generator, find_weights(dataset.generator).path, device=CPU)
    source = ImageSource(dataset.segmenter, generator, dataset, CPU)
    return generator, AlphaTraining(dataset.segmenter, source, generator, CPU)


def test_a_training_starts_with_the_scores_of_the_file_s_discriminator(tmp_path):
    tensors = nvidia()
    dataset = job(tmp_path, weights_file(tmp_path, as_rosinality(tensors)))
    _, begun = training(dataset)
    assert begun.has_own_critic
    found = begun._critic_of(begun.critic)(pictures(), None)
    torch.testing.assert_close(found, score(tensors, pictures()), atol=1e-4, rtol=1e-4)


def test_only_the_critic_s_start_depends_on_the_file_s_discriminator(tmp_path):
    plain_job = job(tmp_path, weights_file(tmp_path))
    generator, bare = training(plain_job)
    assert not bare.has_own_critic
    scratch = first_critic(generator.facts, step_rng(0, 0))
    assert bare.critic.keys() == scratch.keys()
    _, begun = training(job(tmp_path, weights_file(tmp_path, as_rosinality(nvidia()))))
    assert all(torch.equal(begun.network[name], one) for name, one in bare.network.items())


def fit(dataset):
    weights = find_weights(dataset.generator)
    data = fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *_: None)
    return decode_segmenter(data, source="it")


@pytest.mark.slow
def test_a_fit_tells_what_its_critic_started_from(tmp_path, caplog):
    told = {}
    for name, beside in (("own", as_rosinality(nvidia())), ("none", None)):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="factory"):
            told[name] = fit(job(tmp_path, weights_file(tmp_path, beside)))[1].fitted_on
        word = "weights file's discriminator" if beside else "random weights"
        assert any("critic_starts_from" in m and word in m for m in caplog.messages)
    assert (told["own"]["own_discriminator"], told["none"]["own_discriminator"]) == (1, 0)
    assert told["own"]["loss"] != told["none"]["loss"]


@pytest.mark.parametrize("reason", ["for images of 32 px", "holds NaN"])
def test_one_that_does_not_fit_is_warned_of_and_training_starts_from_random_weights(
    reason, tmp_path, caplog
):
    state = as_rosinality(nvidia(32), 32)
    if reason == "holds NaN":
        state = as_rosinality(nvidia())
        state["final_linear.0.weight"] = state["final_linear.0.weight"] * torch.nan
    dataset = job(tmp_path, weights_file(tmp_path, state))
    facts = load_generator(
        dataset.generator, find_weights(dataset.generator).path, device=CPU
    ).facts
    with caplog.at_level(logging.WARNING, logger="factory"):
        found = start_critic(dataset.generator, facts, step_rng(0, 0))
    assert not found.is_own
    scratch = first_critic(facts, step_rng(0, 0))
    assert all(torch.equal(found.tensors[name], one) for name, one in scratch.items())
    told = [message for message in caplog.messages if "discriminator" in message]
    assert len(told) == 1
    assert reason in told[0]


def test_a_converted_file_makes_the_images_and_the_critic_of_the_original(tmp_path):
    original = weights_file(tmp_path, as_rosinality(nvidia()))
    converted = tmp_path / "converted.safetensors"
    write_safetensors(read_checkpoint(original, with_discriminator=True), converted)
    first, second = (
        read_weights(find_weights(GeneratorSpec(kind="stylegan2", weights=str(path))).path)
        for path in (original, converted)
    )
    one, other = first.tensors.take_all(), second.tensors.take_all()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    (_, a), (_, b) = training(job(tmp_path, original)), training(job(tmp_path, converted))
    assert a.has_own_critic
    assert b.has_own_critic
    assert all(torch.equal(a.critic[name], b.critic[name]) for name in a.critic)


def test_an_old_conversion_in_the_cache_serves_on_and_the_discriminator_is_found_beside_it(
    tmp_path,
):
    spec = GeneratorSpec(
        kind="stylegan2", weights=str(weights_file(tmp_path, as_rosinality(nvidia())))
    )
    cached = find_weights(spec).path
    made = cached.read_bytes()
    assert not any(name.startswith("discriminator.") for name in load_file(cached))
    assert read_discriminator(spec).tensors
    assert find_weights(spec).path.read_bytes() == made


@pytest.mark.slow
def test_the_forecast_takes_its_steps_with_the_file_s_discriminator(tmp_path, monkeypatch):
    dataset = job(tmp_path, weights_file(tmp_path, as_rosinality(nvidia())))
    generator, _ = training(dataset)
    seen = []
    real = Discriminator.__call__

    def watched(self, images, labels):
        seen.append(self._form.filters_shortcuts)
        return real(self, images, labels)

    monkeypatch.setattr(Discriminator, "__call__", watched)
    assert fit_seconds(Probe(dataset, generator, CPU, 1), 1.0) > 0
    assert seen
    assert all(seen)
