"""Of every family: what `convert` writes, `inspect` reads and `run` runs, and its pictures are right."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_job import small_document
from typer.testing import CliRunner
from variants import VARIANTS, Variant, of_family, stylegan_xl

from factory.checkpoint import CHANNELS, FAMILIES
from factory.cli.app import app
from factory.data import LatentBatch
from factory.dataset.reader import open_dataset
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import find_weights
from factory.pack.tar import read_members
from factory.spec import GeneratorSpec, LatentsSpec
from factory.spec.generators import FAMILY_SETTINGS

NUM_SAMPLES, BATCH = 4, 2


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_every_family_is_among_the_variants():
    kinds = {name.partition("-")[0] for name in VARIANTS}
    assert kinds == set(FAMILIES)


def said(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout


def make(folder, kind, weights, **settings):
    generator = {"kind": kind, "weights": str(weights), **settings}
    overrides = {
        "dataset.num_samples": NUM_SAMPLES,
        "dataset.samples_per_shard": NUM_SAMPLES,
        "dataset.batch_size": BATCH,
        "dataset.generator": generator,
        "dataset.segmenter.num_clusters": 3,
        "dataset.segmenter.fit": {"num_images": 4, "pixels_per_image": 64},
    }
    folder.mkdir()
    job = folder / "job.yaml"
    job.write_text(json.dumps(small_document(folder, overrides)))
    said("run", str(job))
    files = dict(read_members(folder / "out/data/train/tiny-000000.tar"))
    pictures = [data for name, data in sorted(files.items()) if name.endswith("image.png")]
    opened = [Image.open(io.BytesIO(data)) for data in pictures]
    return np.stack([np.asarray(picture) for picture in opened])


def wanted_images(variant: Variant, weights) -> np.ndarray:
    """The pictures that the job's samples must be, from the tensors as they are."""
    spec = GeneratorSpec(kind=variant.kind, weights=str(weights))
    sampler = LatentSampler(
        load_generator(spec, find_weights(spec).path, device=torch.device("cpu")),
        LatentsSpec(),
        spec,
    )
    batches: list[LatentBatch] = [sampler.draw([i, i + 1]) for i in range(0, NUM_SAMPLES, BATCH)]
    for batch in batches:
        assert (batch.class_labels >= 0).all() == bool(variant.num_classes)
        assert variant.num_classes == 0 or batch.class_labels[0] != batch.class_labels[1]
    images = np.concatenate([variant.draw_images(batch) for batch in batches])
    return images.repeat(3, axis=-1) if variant.channels == 1 else images


def assert_same(stored: np.ndarray, wanted: np.ndarray) -> None:
    """Equal but for the rounding of floats; and they are pictures, not one colour."""
    assert stored.shape == wanted.shape
    assert np.abs(stored.astype(int) - wanted).max() <= 1
    assert all(image[..., :3].std() > 2 for image in stored)
    assert len({image.tobytes() for image in stored}) == NUM_SAMPLES


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_converted_is_inspected_and_run_and_its_pictures_are_right(name, tmp_path):
    variant = VARIANTS[name]()
    torch.save(variant.content, tmp_path / "made.pt")
    (tmp_path / "given.json").write_text(json.dumps(variant.settings))
    config = ["--config", str(tmp_path / "given.json")] if variant.settings else []
    converted = tmp_path / "converted.safetensors"
    assert f": {variant.kind}, from " in said(
        "convert", str(tmp_path / "made.pt"), "-o", str(converted), *config
    )
    first = json.loads(said("inspect", "--json", str(tmp_path / "made.pt"), *config))
    again = json.loads(said("inspect", "--json", str(converted)))
    for found in (first, again):
        assert (found["family"], found["channels"]) == (variant.kind, variant.channels)
        assert found["num_classes"] == variant.num_classes
    assert again["layers"] == first["layers"]
    assert f"px, {CHANNELS[variant.channels]}" in said("inspect", str(converted))
    wanted = wanted_images(variant, converted)
    assert_same(make(tmp_path / "a", variant.kind, converted), wanted)
    said("verify", "--deep", "--regenerate", "2", str(tmp_path / "a/out"))
    if variant.settings:  # the file itself, told what it does not say
        known = FAMILY_SETTINGS[variant.kind].model_fields
        chosen = {key: value for key, value in variant.settings.items() if key in known}
        assert_same(
            make(tmp_path / "b", variant.kind, tmp_path / "made.pt", settings=chosen), wanted
        )
    shapes = {sample.image.shape for sample in open_dataset(tmp_path / "a/out")}
    assert shapes == {(*wanted.shape[1:3], 3)}


TOLD = [
    ("stylegan1", {"final_tanh": True}),
    ("stylegan1", {"mapping_lr_mul": 0.05}),
    ("stylegan1", {"use_wscale": False}),
    ("stylegan1", {"fused_scale": True}),
    ("pggan", {"final_tanh": True}),
    ("pggan", {"use_wscale": False}),
    ("dcgan", {"output_activation": "sigmoid"}),
    ("dcgan", {"hidden_activation": "leaky_relu"}),
    ("dcgan", {"bn_eps": 0.5}),
    ("dcgan", {"classes": 4}),
    ("biggan_ajbrock", {"BN_eps": 0.5}),
    ("stylegan3", {"output_scale": 0.1}),
    ("stylegan_xl", {"output_scale": 0.1}),
]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["--config", "generator.settings"])
@pytest.mark.parametrize(("kind", "settings"), TOLD, ids=[f"{k}-{next(iter(s))}" for k, s in TOLD])
def test_what_is_told_of_a_network_is_what_it_computes(kind, settings, way, tmp_path):
    """Held against the network that is built with the setting, and against the one without."""
    classes = settings.get("classes", 10 if "biggan" in kind else 5 if kind == "stylegan_xl" else 0)
    tensors = stylegan_xl().content if kind == "stylegan_xl" else None
    told, plain = (
        of_family(kind, tensors=tensors, num_classes=classes, settings=given)
        for given in (
            settings,
            {name: value for name, value in settings.items() if name == "classes"},
        )
    )
    torch.save(told.content, tmp_path / "x.pt")
    if way == "--config":
        (tmp_path / "c.json").write_text(json.dumps(settings))
        config = ["--config", str(tmp_path / "c.json")]
        said("convert", str(tmp_path / "x.pt"), "-o", str(tmp_path / "x"), *config)
        spec = GeneratorSpec(kind=kind, weights=str(tmp_path / "x"))
    else:
        spec = GeneratorSpec(kind=kind, weights=str(tmp_path / "x.pt"), settings=settings)
    generator = load_generator(spec, find_weights(spec).path, device=torch.device("cpu"))
    assert generator.facts.num_classes == classes
    latents = LatentSampler(generator, LatentsSpec(), spec).draw([0, 1])
    with torch.inference_mode():
        made = generator.generate(latents, ()).images.numpy().astype(int)
    assert np.abs(made - told.draw_images(latents)).max() <= 1
    if "classes" not in settings:
        assert np.abs(made - plain.draw_images(latents)).max() > 3
