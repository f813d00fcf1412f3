"""Fits of alpha networks on the toy generator, whose images stand in for real pictures."""

import re
import shutil
import tarfile
import threading

import numpy as np
import pytest
import torch
from contract.test_generators import build, draw
from painted import generated_pictures
from small_job import make_small, small_job

from factory.care.verify import verify_dataset
from factory.dataset.reader import open_dataset
from factory.errors import Interrupted, JobError
from factory.fit.alpha.collapse import CollapseDetector
from factory.fit.alpha.critic import first_critic
from factory.fit.alpha.fit import COST
from factory.fit.alpha.training import silenced_of
from factory.fit.cost import Probe, fit_seconds, load_stand_in
from factory.fit.fitted import fit_key, fit_segmenter
from factory.fit.named_files import digest_named_files
from factory.generate.base import GeneratorFacts, LayerShape
from factory.generate.weights.find import LocalWeights
from factory.pack.image import encode_mask
from factory.segment.alpha.segmenter import (
    AVERAGE,
    LABELS,
    LAST,
    alpha_quantiles,
    find_doubts,
    quantiles_name,
)
from factory.segment.base import generate_and_segment, load_segmenter
from factory.segment.segmenter_file import decode_segmenter, encode_segmenter
from factory.segment.serving import check_generator
from factory.spec.alpha import AlphaSpec
from factory.store import LocalStore
from factory.train_generator.step import step_rng

CPU = torch.device("cpu")
QUICK = {"steps": 4, "images_per_step": 4, "learning_rate": 0.01}


def section(folder, **settings):
    """The section of a job with a quick fit; real pictures are made once."""
    pictures = folder / "pictures"
    if not pictures.exists():
        generated_pictures(pictures, small_job(folder).dataset)
    return {"kind": "alpha", "images": str(pictures)} | QUICK | settings


def job(folder, **settings):
    return small_job(folder, {"dataset.segmenter": section(folder, **settings)}).dataset


def fit(dataset, *, on_progress=lambda *_: None, stop=None):
    weights = LocalWeights(None, "")
    return fit_segmenter(dataset, weights, device=CPU, on_progress=on_progress, stop=stop)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_fit_keeps_the_average_and_the_last_weights_and_tells_what_its_masks_are_like(tmp_path):
    tensors, facts = decode_segmenter(fit(job(tmp_path)), source="it")
    assert facts.layers == ["s8", "s16", "s32"]
    assert [label.name for label in facts.labels] == ["background", "foreground"]
    assert tuple(facts.labels) == LABELS
    weights = {name for name in tensors if not name.startswith("quantiles/")}
    names = {name.partition("/")[2] for name in weights}
    assert weights == {f"{part}/{name}" for part in ("average", "last") for name in names}
    assert facts.fitted_on["num_pictures"] == 12
    assert facts.fitted_on["steps"] == 4
    assert 0 < facts.fitted_on["mean_alpha"] < 1
    assert any(not torch.equal(tensors[f"average/{n}"], tensors[f"last/{n}"]) for n in names)


def test_a_fit_that_was_stopped_goes_on_and_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("factory.fit.context._EVERY_S", -1.0)
    monkeypatch.setattr("factory.fit.progress._EVERY_S", -1.0)
    whole = fit(job(tmp_path))
    shutil.rmtree(tmp_path / "cache")
    stop, told = threading.Event(), []

    def on_progress(stage, done, *_):
        told.append((stage, done))
        if done == 2:
            stop.set()

    with pytest.raises(Interrupted):
        fit(job(tmp_path), on_progress=on_progress, stop=stop)
    last = told[-1][1]
    again = []
    found = fit(job(tmp_path), on_progress=lambda stage, done, *_: again.append(done))
    assert again[0] >= last, "steps that are saved are not taken again"
    assert found == whole


def test_a_checkpoint_of_something_else_is_as_good_as_none(tmp_path, monkeypatch):
    whole = fit(job(tmp_path))
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr(
        "factory.fit.context.Checkpoint.load", lambda _: {"figures": torch.zeros(4)}
    )
    assert fit(job(tmp_path)) == whole


SETTINGS = {
    "steps": {"steps": 5},
    "the pictures of a step": {"images_per_step": 8},
    "the rate": {"learning_rate": 0.02},
    "the critic's weight": {"adversarial_weight": 3.0},
    "the masks' weight": {"mask_weight": 9.0},
    "the least foreground": {"least_foreground": 0.9},
    "the least background": {"background_weight": 9.0, "least_background": 0.9},
    "the truncation": {"foreground_psi": 0.5},
    "the preset": {"preset": "cat/retrain"},
    "the symmetry": {"symmetry": "dihedral"},
    "the seed": {"seed": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_of_the_fit_changes_what_is_found(name, tmp_path):
    assert fit(job(tmp_path)) != fit(job(tmp_path, **SETTINGS[name]))


def test_threshold_and_choice_of_weights_need_no_other_fit(tmp_path):
    plain = job(tmp_path)
    for settings in ({"threshold": 0.3}, {"weights": "last"}):
        assert fit_key(job(tmp_path, **settings), "") == fit_key(plain, "")
    assert fit_key(job(tmp_path, seed=3), "") != fit_key(plain, "")


def masks_of(folder, data, **settings):
    """Masks of four images by a fitted file."""
    path, toy = folder / "alpha.safetensors", build("shapes")
    path.write_bytes(data)
    segmenter = load_segmenter(job(folder, **settings).segmenter, path, toy.facts, CPU)
    with torch.inference_mode():
        return generate_and_segment(toy, segmenter, draw(toy, range(4)))[1]


def test_a_pixel_is_foreground_above_the_threshold_and_sure_far_from_it(tmp_path):
    data = fit(job(tmp_path))
    found = masks_of(tmp_path, data)
    middle = float(found.alpha.median())
    for threshold in (middle, 0.9):
        found = masks_of(tmp_path, data, threshold=threshold)
        assert torch.equal(found.masks.bool(), found.alpha > threshold)
        room = torch.where(found.masks.bool(), 1 - threshold, threshold)
        wanted = (found.alpha - threshold).abs() / room
        torch.testing.assert_close(found.confidence_by_px, wanted, atol=1e-5, rtol=0)
    other = masks_of(tmp_path, data, weights="last")
    assert not torch.equal(other.alpha, found.alpha)


COLLAPSES = {
    "background": {"mask_weight": 0, "background_weight": 900, "least_background": 1},
    "foreground": {"mask_weight": 900, "background_weight": 0, "least_foreground": 1},
}


@pytest.mark.parametrize("name", COLLAPSES)
def test_a_collapse_is_told_within_the_first_tenth_with_what_to_change(name, tmp_path):
    told = []
    provoked = COLLAPSES[name] | {"adversarial_weight": 0, "learning_rate": 0.2, "steps": 200}
    with pytest.raises(JobError) as caught:
        fit(job(tmp_path, **provoked), on_progress=lambda _, done, *__: told.append(done))
    text = str(caught.value)
    assert text.startswith(f"dataset.segmenter: every mask was all {name} in ")
    assert "the training has collapsed; raise " in text
    assert max(told) <= 20


def test_masks_of_one_class_now_and_then_are_no_collapse():
    detector = CollapseDetector(150)
    assert detector.window == 3
    full, half = torch.ones(2, 4, 4), torch.full((2, 4, 4), 0.5)
    for step, alpha in enumerate([full, full, half] * 20, start=1):
        detector.observe(step, alpha)
    for step in (61, 62):
        detector.observe(step, full)
    with pytest.raises(JobError, match="in 3 steps up to step 63 of 150"):
        detector.observe(63, full)


@pytest.mark.slow
def test_training_finds_the_parts_of_the_toy(tmp_path):
    generated_pictures(tmp_path / "pictures", small_job(tmp_path).dataset, 100)
    settings = TRAINED | {"threshold": 0.5}
    data = fit(job(tmp_path, **settings))
    found = masks_of(tmp_path, data, **settings).masks.bool()
    toy = build("shapes")
    truth = toy.masks(draw(toy, range(4))) > 0
    assert float((found & truth).sum() / (found | truth).sum()) > 0.6


TRAINED = {
    "steps": 160,
    "images_per_step": 8,
    "learning_rate": 5e-3,
    "mask_weight": 1,
    "background_weight": 3,
    "least_background": 0.5,
    "symmetry": "none",
}


def test_pictures_count_by_their_content_in_a_folder_a_tar_or_shards(tmp_path):
    first = job(tmp_path)
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "pictures", moved)
    assert digest_named_files(job(tmp_path, images=str(moved))) == digest_named_files(first)
    for number in range(2):
        with tarfile.open(tmp_path / f"real-{number}.tar", "w") as tar:
            for file in sorted(moved.iterdir())[number::2]:
                tar.add(file, file.name)
    shards = job(tmp_path, images=str(tmp_path / "real-{0..1}.tar"))
    digests = digest_named_files(shards)
    assert set(digests) == {"images"}
    assert decode_segmenter(fit(shards), source="it")[1].fitted_on["num_pictures"] == 12
    (tmp_path / "real-1.tar").write_bytes((tmp_path / "real-0.tar").read_bytes())
    assert digest_named_files(shards) != digests


def test_classes_of_the_pictures_do_not_matter(tmp_path):
    whole = fit(job(tmp_path))
    pictures = tmp_path / "pictures"
    (pictures / "0.cls").write_text("a class")
    (pictures / "dataset.json").write_text("no json")
    assert decode_segmenter(fit(job(tmp_path)), source="it")[1].fitted_on["num_pictures"] == 12
    shutil.rmtree(tmp_path / "cache")
    assert fit(job(tmp_path)) == whole
    (pictures / "alone").mkdir()
    (pictures / "0.png").rename(pictures / "alone" / "0.png")
    assert decode_segmenter(fit(job(tmp_path)), source="it")[1].fitted_on["num_pictures"] == 12


def test_one_picture_is_not_enough(tmp_path):
    dataset = job(tmp_path)
    for file in sorted((tmp_path / "pictures").iterdir())[1:]:
        file.unlink()
    with pytest.raises(JobError, match=r"^dataset\.segmenter\.images: one picture in .*at least 2"):
        fit(dataset)


def doubts(folder, alpha, **settings):
    """What is told of a file whose training ended with the alpha of `alpha`."""
    dataset = job(folder, **settings)
    tensors, facts = decode_segmenter(fit(dataset), source="it")
    quantiles = alpha_quantiles(torch.tensor(alpha).view(1, 1, -1))
    tensors |= {quantiles_name(part): quantiles.clone() for part in (AVERAGE, LAST)}
    return find_doubts(encode_segmenter(tensors, facts), dataset.segmenter)


@pytest.mark.parametrize(
    ("alpha", "settings", "words"),
    [
        ([0.2, 0.4, 0.85], {}, "no pixel .* alpha goes from 0.20 to 0.85, and threshold is 0.9;"),
        ([0.6, 0.7, 0.95], {"threshold": 0.5}, "every pixel .* from 0.60 to 0.95"),
        ([0.2, 0.4, 0.95], {}, r"alpha is between 0\.1 and 0\.9 in 9.% of the pixels"),
        ([0.0, 0.01, 0.02, 0.97, 0.98], {}, ""),
    ],
)
def test_masks_that_the_threshold_alone_decides_are_told(tmp_path, alpha, settings, words):
    found = doubts(tmp_path, alpha, **settings)
    assert bool(found) == bool(words)
    if words:
        (line,) = found
        assert re.search(words, line)


def test_a_fit_looks_at_the_alpha_of_both_of_its_networks(tmp_path):
    dataset = job(tmp_path)
    data = fit(dataset)
    tensors, _ = decode_segmenter(data, source="it")
    for part in (AVERAGE, LAST):
        found = tensors[quantiles_name(part)]
        assert found.shape == (101,)
        assert (found.diff() >= 0).all()
        assert 0 <= float(found[0]) < float(found[-1]) <= 1
    assert len(find_doubts(data, dataset.segmenter)) == 1, "four steps decide nothing"


def test_a_file_without_quantiles_raises_no_doubt(tmp_path):
    dataset = job(tmp_path)
    tensors, facts = decode_segmenter(fit(dataset), source="it")
    for bare in (torch.zeros(0), None):
        changed = {k: bare if k.startswith("quantiles") else v for k, v in tensors.items()}
        changed = {k: v for k, v in changed.items() if v is not None}
        assert find_doubts(encode_segmenter(changed, facts), dataset.segmenter) == []


def test_a_head_learns_from_an_alpha_network(tmp_path):
    pictures = str(section(tmp_path)["images"])
    teacher = {"kind": "alpha", "images": pictures, "steps": 120, "learning_rate": 0.01}
    teacher |= {"images_per_step": 4, "mask_weight": 1, "least_background": 0.5, "threshold": 0.5}
    taught = {"kind": "distil", "teacher": teacher, "samples": 60, "min_agreement": 0.6}
    manifest = make_small(tmp_path, {"dataset.segmenter": taught})
    assert manifest.num_samples == 13
    assert [label.name for label in manifest.meaning.labels] == ["background", "foreground"]
    assert all(0 < record.class_px[1] < record.class_px[0] for record in manifest.records)


def test_unusable_pictures_are_told_with_the_setting_that_names_them(tmp_path):
    dataset = job(tmp_path)
    (tmp_path / "pictures" / "0.png").write_bytes(b"no picture")
    with pytest.raises(JobError, match=r"^dataset\.segmenter\.images: .*0\.png"):
        fit(dataset)
    (tmp_path / "pictures" / "0.png").write_bytes(encode_mask(np.zeros((9, 9), np.uint8)))
    with pytest.raises(JobError, match=r"0\.png is 9 x 9 px.*; take it out$"):
        fit(dataset)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs `images`, real pictures, or a released `network`"),
        ({"network": "a.pt", "images": "b"}, "`network` names a fitted network; leave out images"),
    ],
)
def test_a_network_comes_from_pictures_or_from_a_file(settings, message):
    with pytest.raises(ValueError, match=message):
        AlphaSpec(**settings)


def test_a_generator_without_a_stage_to_silence_is_told_which_methods_serve_it():
    facts = GeneratorFacts(32, 0, (), {"x": LayerShape(4, 16, 16)})
    with pytest.raises(JobError) as caught:
        check_generator("alpha", facts)
    text = str(caught.value)
    assert "no stage of 4x4 pixels that can be silenced" in text
    assert "methods that work on it: " in text
    named = text.rpartition(": ")[2].split(", ")
    assert {"kmeans", "klish", "linear"} <= set(named)
    assert not {"alpha", "style_mixing"} & set(named)


def test_the_constant_is_silenced_for_512_px_alone_unless_the_job_says_so():
    spec = AlphaSpec(images="x")
    assert [silenced_of(spec, side) for side in (64, 256, 512, 1024)] == [
        *("stage", "stage", "constant", "stage")
    ]
    assert silenced_of(AlphaSpec(images="x", silenced="constant"), 64) == "constant"


def test_the_critic_is_as_wide_as_the_generator_at_each_resolution():
    layers = {f"s{side}": LayerShape(width, side, side) for side, width in ((16, 10), (32, 6))}
    critic = first_critic(GeneratorFacts(32, 0, (), layers), step_rng(0, 0))
    assert critic["b32.conv0.weight"].shape[:2] == (8, 8), "rounded up to whole statistics"
    assert critic["b16.conv0.weight"].shape[:2] == (12, 12)
    assert critic["b4.conv.weight"].shape[0] == 12


def test_the_fit_is_forecast_from_its_own_steps(tmp_path):
    class Clock:
        def __init__(self):
            self.now = 0.0

        def __call__(self):
            self.now += 3.0
            return self.now

    dataset, toy = job(tmp_path, steps=100), build("shapes")
    probe = Probe(dataset, toy, CPU, 1, Clock())
    assert fit_seconds(probe, 1.0) == 150.0
    released = AlphaSpec(network="550000.pt")
    assert COST.seconds(released, probe, 1.0) == 0.0, "nothing is trained"
    found = load_stand_in(probe).segment(toy.generate(draw(toy, range(2)), ("s8", "s16", "s32")))
    assert found.masks.shape == (2, 32, 32)


def test_alpha_is_stored_read_and_verified(tmp_path):
    overrides = {
        "dataset.segmenter": section(tmp_path, threshold=0.5),
        "dataset.encode": {"alpha": True},
    }
    make_small(tmp_path, overrides)
    root = tmp_path / "out"
    assert verify_dataset(LocalStore(str(root)), deep=True).problems == ()
    samples = list(open_dataset(root))
    assert len(samples) == 13
    for sample in samples:
        assert sample.alpha.dtype == np.uint8
        sure = np.abs(sample.alpha / 255 - 0.5) > 0.01
        assert np.array_equal((sample.alpha > 127)[sure], sample.mask.astype(bool)[sure])


def test_a_method_without_soft_edges_cannot_be_asked_for_alpha(tmp_path):
    with pytest.raises(JobError, match=r"^dataset\.encode\.alpha: found true, but"):
        make_small(tmp_path, {"dataset.encode": {"alpha": True}})
