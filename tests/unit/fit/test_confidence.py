"""Heads that judge masks: fitted on the masks themselves, and held against exact ones."""

import threading

import numpy as np
import pytest
import torch
from contract.test_generators import draw
from fit_context import CPU
from scipy.stats import spearmanr
from small_job import small_job

from factory.errors import Interrupted, JobError
from factory.fit.confidence import calibrate, finest_layers
from factory.fit.finish import find_finished, finish_fit
from factory.fit.fitted import fit_segmenter, needs_fitting
from factory.fit.logistic import fit_logistic
from factory.generate.base import GeneratorFacts, LayerShape, load_generator
from factory.generate.weights.find import LocalWeights
from factory.segment.base import generate_and_segment, load_segmenter
from factory.segment.segmenter_file import decode_segmenter, encode_segmenter

pytestmark = pytest.mark.slow

WEIGHTS = LocalWeights(None, "")
FIT = {"num_images": 128, "pixels_per_image": 256}
KLISH = {"kind": "klish", "cut": 4, "initial_clusters": 20, "fit": FIT}
COARSE = KLISH | {"cut": 3, "initial_clusters": 40, "layers": ["s8", "s16"]}
MIXING = {"kind": "style_mixing", "num_variants": 8}


def dataset_of(folder, segmenter, **settings):
    section = segmenter | {"confidence": "agreement"} | settings
    return small_job(folder, {"dataset.segmenter": section, "dataset.batch_size": 8}).dataset


def finish(dataset, **settings):
    quiet = {"device": CPU, "on_progress": lambda *_: None}
    fitted = fit_segmenter(dataset, WEIGHTS, **quiet) if needs_fitting(dataset) else b""
    return fitted, finish_fit(fitted, dataset, WEIGHTS, **{**quiet, **settings})


@pytest.mark.parametrize("segmenter", [COARSE, MIXING], ids=["klish", "style_mixing"])
def test_it_tells_good_masks_of_the_toy_from_bad_ones(segmenter, tmp_path):
    dataset = dataset_of(tmp_path, segmenter)
    path = tmp_path / "it.safetensors"
    path.write_bytes(finish(dataset)[1])
    toy = load_generator(dataset.generator, None, device=CPU)
    judged = load_segmenter(dataset.segmenter, path, toy.facts, CPU)
    latents = draw(toy, range(96))
    with torch.inference_mode():
        _, found = generate_and_segment(toy, judged, latents)
    truth, masks = toy.masks(latents), found.masks.long()
    if len(judged.labels) == 2:
        truth = (truth > 0).long()
    else:  # each cluster counts as its commonest part
        table = torch.bincount((masks * 4 + truth).flatten(), minlength=12).view(3, 4)
        masks = table.argmax(dim=1)[masks]
    ious = []
    for label in truth.unique():
        both = ((masks == label) & (truth == label)).sum(dim=(1, 2))
        ious.append(both / ((masks == label) | (truth == label)).sum(dim=(1, 2)))
    quality = torch.stack(ious).nanmean(dim=0).numpy()
    sureness = found.confidence.numpy()
    assert spearmanr(sureness, quality)[0] > 0.6
    surest = np.argsort(-sureness)
    kept = [quality[surest[: round(96 * share)]].mean() for share in (0.2, 0.4, 0.6, 0.8, 1)]
    assert max(np.diff(kept)) < 0.005, kept


def test_a_calibrated_probability_is_the_share_of_pixels_that_have_the_class():
    torch.manual_seed(0)
    ids = torch.randint(3, (30000,))
    vectors = torch.randn(3, 4)[ids] + torch.randn(30000, 4)
    weights, bias = fit_logistic(vectors[:9000], ids[:9000], 3)
    curves = calibrate(weights * 4, bias * 4, vectors[9000:18000], ids[9000:18000])
    odds = torch.addmm(bias * 4, vectors[18000:], weights.T * 4).softmax(dim=1).logit(eps=1e-6)
    p = torch.sigmoid(odds * curves[:, 0] + curves[:, 1])
    calibrated, as_said = (_most_off(q, ids[18000:]) for q in (p, odds.sigmoid()))
    assert calibrated < 0.12
    assert as_said > 0.3


def _most_off(p, ids):
    """How far a probability is from the share of pixels, at most."""
    gaps = []
    for label in range(3):
        for low in (0.1, 0.4, 0.7):
            among = (p[:, label] > low) & (p[:, label] < low + 0.2)
            share = (ids[among] == label).float().mean()
            gaps.append(abs(float(share - p[among, label].mean())))
    return max(gaps)


def test_a_class_that_a_half_does_not_have_gets_a_finite_curve():
    vectors = torch.randn(50, 2)
    curves = calibrate(torch.randn(3, 2), torch.zeros(3), vectors, torch.arange(50) % 2)
    assert torch.isfinite(curves).all()
    assert (curves[:, 0] >= 0).all()


def test_equal_jobs_have_equal_files_and_the_cache_has_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    dataset = dataset_of(tmp_path, MIXING)
    assert find_finished(b"", dataset, "") is None
    _, first = finish(dataset)
    assert find_finished(b"", dataset, "") == first
    assert find_finished(b"", dataset_of(tmp_path, MIXING, clean={"min_area": 2}), "") is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert finish(dataset)[1] == first


def test_a_stored_file_that_differs_by_its_heads_alone_is_kept(tmp_path):
    dataset = dataset_of(tmp_path, KLISH)
    _, stored = finish(dataset)
    tensors, facts = decode_segmenter(stored, source="it")
    tensors["confidence/bias"] *= 1 + 1e-6  # as another processor might round it
    other = encode_segmenter(tensors, facts)
    assert other != stored
    assert finish(dataset, stored=other)[1] == other
    _, of_another_cut = finish(dataset_of(tmp_path, KLISH, cut=3))
    assert finish(dataset, stored=of_another_cut)[1] == stored


def test_a_generator_without_feature_maps_cannot_have_it():
    with pytest.raises(JobError, match="offers no feature maps for a head to read; use margin"):
        finest_layers(GeneratorFacts(32, 0, (), {}))


def test_heads_read_the_finest_maps():
    layers = {"a": LayerShape(4, 8, 8), "b": LayerShape(2, 16, 16), "c": LayerShape(1, 16, 16)}
    assert finest_layers(GeneratorFacts(32, 0, (), layers)) == ("b", "c")


def test_a_method_that_rejects_nearly_all_of_its_masks_cannot_be_judged(tmp_path):
    strict = {"foreground": {"min_contrast": 2}}
    with pytest.raises(JobError, match=r"confidence: 0 of 128 masks can be used \(rejected"):
        finish(dataset_of(tmp_path, MIXING, **strict))


def test_it_stops_when_it_is_told_to(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        finish(dataset_of(tmp_path, MIXING), stop=stop)
