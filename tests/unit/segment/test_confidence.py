"""Confidence by agreement: what heads say of a mask, and that it says which masks are wrong."""

import numpy as np
import pytest
import torch
from small_job import EXACT_PARTS, Witness, make_small, small_job

from factory import open_dataset, stream
from factory.care.verify import verify_dataset
from factory.data import IGNORE
from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.batch import MaskBatch
from factory.job import run_job
from factory.segment.base import FittedSegmenter, JudgedSegmenter, Mergeable, load_segmenter
from factory.segment.confidence import (
    AgreementHeads,
    class_sums,
    expected_iou,
    head_tensors,
    read_heads,
)
from factory.segment.mask_figures import count_px
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def found_of(masks):
    masks = torch.tensor(masks, dtype=torch.uint8)
    count = torch.zeros(len(masks))
    return MaskBatch(masks, count, count_px(masks, 2))


def heads(*, slope=1.0, offset=0.0, side=2):
    """Two equal heads on one channel: the odds of class 1 are its value, those of class 0 the rest."""
    weights = torch.tensor([[0.0], [1.0]]).repeat(2, 1)
    curves = torch.tensor([[slope, offset]] * 2).repeat(2, 1, 1)
    return AgreementHeads({"x": weights}, torch.zeros(4), curves, side)


def test_a_pixel_s_confidence_is_the_probability_of_the_class_that_the_mask_has_there():
    maps = {"x": torch.tensor([[[[0.0, 1.0], [2.0, -3.0]]]])}
    found = heads().judge(found_of([[[0, 1], [0, IGNORE]]]), maps)
    expected = torch.sigmoid(torch.tensor([[0.0, 1.0], [-2.0, 0.0]]))
    expected[1, 1] = 0  # nobody claims it
    assert torch.allclose(found.confidence_by_px[0], expected, atol=1e-6)


def test_calibration_bends_the_odds():
    maps = {"x": torch.full((1, 1, 2, 2), 2.0)}
    found = heads(slope=0.5, offset=-1.0).judge(found_of([[[1, 1], [1, 1]]]), maps)
    assert torch.allclose(found.confidence_by_px, torch.tensor(0.5), atol=1e-6)


def test_certain_heads_give_a_finite_confidence():
    maps = {"x": torch.full((1, 1, 2, 2), 1e4)}
    right, wrong = (heads(slope=3.0).judge(found_of([[[label] * 2] * 2]), maps) for label in (1, 0))
    assert torch.isfinite(right.confidence_by_px).all()
    assert float(right.confidence) > 0.999
    assert float(wrong.confidence) < 0.001


def test_a_small_part_counts_as_much_as_the_ground_around_it():
    masks = torch.tensor([[[0, 0, 0, 1]], [[0, 0, 0, 0]], [[IGNORE] * 4]], dtype=torch.uint8)
    by_px = torch.tensor([[[0.9, 0.9, 0.9, 0.1]], [[0.5, 0.7, 0.5, 0.7]], [[0.0] * 4]])
    found = expected_iou(by_px, masks, count_px(masks, 2), torch.zeros(3, 2))
    assert torch.allclose(found, torch.tensor([0.5, 0.6, 0.0]))


def test_what_the_heads_find_of_a_class_outside_of_it_counts_against_it():
    sure = torch.full((1, 2, 2), 4.0)
    sure[0, 0, 0] = -1.0  # a doubt, and not enough of one for class 1
    found = heads().judge(found_of([[[0, 0], [1, 1]]]), {"x": sure[None]})
    p, doubt = torch.sigmoid(torch.tensor([4.0, -1.0]))
    ground, part = ((1 - doubt) + (1 - p)) / 2, 2 * p / (2 + p)
    assert float(found.confidence) == pytest.approx(float(ground + part) / 2, abs=1e-6)


def test_sums_are_of_each_class_alone():
    masks = torch.tensor([[[0, 1], [1, IGNORE]]], dtype=torch.uint8)
    values = torch.tensor([[[1.0, 2.0], [4.0, 8.0]]])
    assert class_sums(values, masks, 3).tolist() == [[1.0, 6.0, 0.0]]


def test_an_image_s_confidence_does_not_depend_on_the_others_of_its_batch():
    maps, masks = {"x": torch.randn(3, 1, 2, 2)}, [[[0, 1], [1, 0]]] * 3
    whole = heads().judge(found_of(masks), maps)
    alone = heads().judge(found_of(masks[1:2]), {"x": maps["x"][1:2]})
    assert torch.equal(whole.confidence_by_px[1], alone.confidence_by_px[0])


def file_of(folder, layers):
    facts = SegmenterFacts(
        kind="it",
        generator_kind="shapes",
        weights_sha256="",
        layers=[],
        labels=[],
        margin_scale=1,
        fitted_on={},
    )
    weights = {layer: torch.zeros(2, 3) for layer in layers}
    tensors = head_tensors(weights, torch.zeros(2), torch.zeros(1, 2, 2)) if layers else {}
    path = folder / "it.safetensors"
    path.write_bytes(encode_segmenter(tensors, facts))
    return path


def test_a_file_without_heads_or_with_those_of_another_generator_is_refused(tmp_path):
    facts = load_generator(small_job(tmp_path).dataset.generator, None, device=CPU).facts
    with pytest.raises(JobError, match="nothing in it judges masks"):
        read_heads(file_of(tmp_path, []), facts, CPU)
    with pytest.raises(JobError, match="'b64', the generator offers s8, s16, s32"):
        read_heads(file_of(tmp_path, ["s32", "b64"]), facts, CPU)
    assert read_heads(file_of(tmp_path, ["s32"]), facts, CPU).layers == ("s32",)


def test_it_is_fitted_before_it_is_loaded(tmp_path):
    spec = small_job(
        tmp_path, {"dataset.segmenter": {"kind": "style_mixing", "confidence": "agreement"}}
    ).dataset
    facts = load_generator(spec.generator, None, device=CPU).facts
    with pytest.raises(JobError, match="not fitted yet"):
        load_segmenter(spec.segmenter, None, facts, CPU)


METHODS = {
    "klish": {"kind": "klish", "cut": 4, "initial_clusters": 8, "fit": {"num_images": 16}},
    "style_mixing": {"kind": "style_mixing", "num_variants": 4},
    "plugin": EXACT_PARTS,
}


@pytest.mark.parametrize("name", METHODS)
def test_pairs_of_any_method_have_it_and_verify_counts_it_again(name, tmp_path):
    section = METHODS[name] | {"confidence": "agreement"}
    make_small(tmp_path, {"dataset.segmenter": section, "dataset.encode": {"confidence": True}})
    findings = verify_dataset(tmp_path / "out", deep=True, regenerate=2, trust_plugins=True)
    assert not findings.problems
    assert findings.num_regenerated == 2
    for sample in open_dataset(tmp_path / "out"):
        means = [sample.confidence[sample.mask == label].mean() for label in np.unique(sample.mask)]
        assert 0 < sample.facts.confidence <= np.mean(means) / 255 + 2e-3


def test_a_job_goes_on_with_its_heads_and_without_its_cache(tmp_path, monkeypatch):
    job = small_job(tmp_path, {"dataset.segmenter": METHODS["klish"] | {"confidence": "agreement"}})
    first = run_job(job, Witness())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    more = job.model_copy(update={"dataset": job.dataset.model_copy(update={"num_samples": 20})})
    again = Witness()
    assert run_job(more, again).dataset_id == first.dataset_id
    assert not again.fitted


def test_masks_are_the_same_and_the_dataset_is_another_one(tmp_path):
    made = {}
    for kind in ("margin", "agreement"):
        overrides = {"dataset.segmenter": METHODS["klish"] | {"confidence": kind}}
        manifest = make_small(tmp_path / kind, overrides)
        made[kind] = manifest.dataset_id, list(open_dataset(tmp_path / kind / "out"))
    (first, one), (second, other) = made.values()
    assert first != second
    assert all((a.mask == b.mask).all() for a, b in zip(one, other, strict=True))
    assert all(a.facts.confidence != b.facts.confidence for a, b in zip(one, other, strict=True))


def test_pairs_that_are_streamed_have_the_confidence_of_those_in_a_dataset(tmp_path):
    section = METHODS["style_mixing"] | {"confidence": "agreement"}
    overrides = {"dataset.segmenter": section, "dataset.encode": {"confidence": True}}
    make_small(tmp_path, overrides)
    pairs = stream(small_job(tmp_path, overrides), num_samples=3, progress=False)
    for pair, sample in zip(pairs, open_dataset(tmp_path / "out"), strict=False):
        assert (pair["confidence"].numpy() == sample.confidence).all()


def test_what_the_segmenter_has_beside_its_masks_stays(tmp_path):
    section = METHODS["klish"] | {"confidence": "agreement", "clean": {"min_area": 3}}
    make_small(tmp_path, {"dataset.segmenter": section})
    spec = small_job(tmp_path, {"dataset.segmenter": section}).dataset
    facts = load_generator(spec.generator, None, device=CPU).facts
    path = tmp_path / "out" / "segmenter.safetensors"
    judged = load_segmenter(spec.segmenter, path, facts, CPU)
    assert isinstance(judged, JudgedSegmenter)
    assert isinstance(judged, Mergeable)
    assert isinstance(judged, FittedSegmenter)
    assert judged.fitted_on["num_images"] == 2 * 16
