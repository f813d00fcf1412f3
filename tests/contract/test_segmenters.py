"""The promise of `factory/segment/base.py`, held against every segmenter on every generator here."""

import pytest
import torch
from painted import generated_pictures, painted_by_brightness
from small_job import small_job
from stand_in import META, no_numbers

from contract.test_generators import BUILT, SHIPPED_FOR, draw
from contract.test_generators import build as build_generator
from factory.errors import JobError, PluginError
from factory.fit.finish import finish_fit
from factory.fit.fitted import fit_segmenter, needs_fitting
from factory.generate.base import GeneratorFacts, LayerShape, StyleFacts, load_generator
from factory.generate.weights.find import find_weights
from factory.segment.base import (
    RenderingSegmenter,
    Segmenter,
    generate_and_segment,
    load_segmenter,
)
from factory.spec import METHODS

CPU = torch.device("cpu")
FIT = {"num_images": 8, "pixels_per_image": 256}
SMALL = {
    "kmeans": {"kind": "kmeans", "num_clusters": 5, "fit": FIT},
    "klish": {"kind": "klish", "initial_clusters": 12, "cut": 4, "fit": FIT},
    "style_mixing": {
        "kind": "style_mixing",
        "num_variants": 4,
        "classes": {"num_classes": 3, "num_images": 8},
    },
    "distil": {
        "kind": "distil",
        "teacher": {"kind": "kmeans", "num_clusters": 3, "fit": FIT},
        "samples": 16,
        "min_agreement": 0,
    },
    "direction": {
        "kind": "direction",
        "steps": 20,
        "images_per_step": 4,
        "foreground_share": [0.0, 1.0],
        "two_modes": "off",
    },
    # An alpha network decides late: the threshold lies among the shares of a young one.
    "alpha": {
        "kind": "alpha",
        "steps": 12,
        "images_per_step": 4,
        "learning_rate": 0.02,
        "background_weight": 6,
        "least_background": 0.5,
        "threshold": 0.5,
    },
    "linear": {"kind": "linear", "classes": ["dark", "light"], "epochs": 2, "steps_per_epoch": 6},
}


def section_of(kind, folder):
    """The section of a job; the pictures that `linear` and `alpha` need lie in `folder`."""
    pictures = {"linear": "annotations", "alpha": "images"}.get(kind)
    return SMALL[kind] | ({pictures: str(folder / "painted")} if pictures else {})


def build(kind, generator_kind, folder):
    """A generator and a segmenter fitted on it."""
    spec = small_job(
        folder,
        {
            "dataset.segmenter": section_of(kind, folder),
            "dataset.generator": {
                "kind": generator_kind,
                "weights": SHIPPED_FOR.get(generator_kind, ""),
            },
        },
    ).dataset
    if kind == "linear":
        painted_by_brightness(folder / "painted", spec)
    if kind == "alpha":
        generated_pictures(folder / "painted", spec)
    weights = find_weights(spec.generator)
    generator = load_generator(spec.generator, weights.path, device=CPU)
    path = None
    if needs_fitting(spec):
        path = folder / "segmenter.safetensors"
        path.write_bytes(fit_segmenter(spec, weights, device=CPU, on_progress=lambda *_: None))
    return generator, load_segmenter(spec.segmenter, path, generator.facts, CPU), spec, path


@pytest.fixture(scope="module", params=[(kind, on) for kind in sorted(METHODS) for on in BUILT])
def pair(request, tmp_path_factory):
    with torch.inference_mode():
        return build(*request.param, tmp_path_factory.mktemp("segmenter"))


@pytest.fixture(scope="module")
def judged(pair, tmp_path_factory):
    """The same with `confidence: agreement`: heads that learnt from its masks judge them."""
    generator, _, spec, path = pair
    segmenter = spec.segmenter.model_copy(update={"confidence": "agreement"})
    spec = spec.model_copy(update={"segmenter": segmenter})
    fitted, weights = path.read_bytes() if path else b"", find_weights(spec.generator)
    data = finish_fit(fitted, spec, weights, device=CPU, on_progress=lambda *_: None)
    path = tmp_path_factory.mktemp("judged") / "segmenter.safetensors"
    path.write_bytes(data)
    with torch.inference_mode():
        return generator, load_segmenter(segmenter, path, generator.facts, CPU), spec, path


def make(pair, indices=range(4)):
    generator, segmenter, _, _ = pair
    with torch.inference_mode():
        return generate_and_segment(generator, segmenter, draw(generator, indices))


def test_every_method_has_a_small_spec_here():
    assert set(METHODS) == set(SMALL)


def test_it_is_a_segmenter_and_its_feature_maps_are_offered(pair):
    generator, segmenter, _, _ = pair
    assert isinstance(segmenter, Segmenter | RenderingSegmenter)
    assert set(segmenter.layers) <= set(generator.facts.layers)


def test_a_label_s_position_is_its_id_and_names_are_unique(pair):
    labels = pair[1].labels
    assert [label.id for label in labels] == list(range(len(labels)))
    assert len({label.name for label in labels}) == len(labels)


def test_masks_are_bytes_of_the_image_s_size_with_known_labels_only(pair):
    batch, found = make(pair)
    assert found.masks.dtype == torch.uint8
    assert found.masks.shape == batch.images.shape[:3]
    known = [*range(len(pair[1].labels)), 255]
    assert set(found.masks.unique().tolist()) <= set(known)
    assert len(found.masks.unique()) > 1


def test_everything_is_computed_on_the_given_device(pair, monkeypatch):
    _, _, spec, path = pair
    generator = load_generator(spec.generator, find_weights(spec.generator).path, device=META)
    segmenter = load_segmenter(spec.segmenter, path, generator.facts, META)
    latents = draw(generator, range(2))
    with no_numbers(monkeypatch), torch.inference_mode():
        batch, found = generate_and_segment(generator, segmenter, latents)
    places = (batch.images, found.masks, found.confidence, found.class_px)
    assert {tensor.device for tensor in places} == {META}


def test_confidence_is_a_number_from_0_to_1_for_each_mask(pair):
    _, found = make(pair)
    assert found.confidence.shape == (4,)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


@pytest.mark.slow
def test_confidence_by_agreement_changes_no_mask_and_is_a_number_of_its_own(judged):
    generator, _, spec, path = judged
    unjudged = spec.segmenter.model_copy(update={"confidence": "margin"})
    segmenter = load_segmenter(unjudged, path, generator.facts, CPU)
    _, plain = make((generator, segmenter, spec, path))
    _, found = make(judged)
    assert torch.equal(found.masks, plain.masks)
    assert torch.equal(found.class_px, plain.class_px)
    assert found.confidence.shape == (4,)
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    assert not torch.equal(found.confidence, plain.confidence)


@pytest.mark.slow
def test_confidence_by_agreement_does_not_depend_on_a_picture_s_neighbours(judged):
    _, whole = make(judged, [5, 6, 7, 8])
    _, other = make(judged, [90, 6, 17, 90])
    assert torch.allclose(whole.confidence[1], other.confidence[1], atol=2e-3)


def test_confidence_by_agreement_needs_a_file_that_has_it(pair):
    generator, _, spec, path = pair
    segmenter = spec.segmenter.model_copy(update={"confidence": "agreement"})
    with pytest.raises(JobError, match=r"judges masks|not fitted yet"):
        load_segmenter(segmenter, path, generator.facts, CPU)


def test_pixels_are_counted_as_they_are(pair):
    _, found = make(pair)
    count = len(pair[1].labels)
    for mask, counts in zip(found.masks, found.class_px, strict=True):
        assert counts.tolist() == torch.bincount(mask.flatten(), minlength=256)[:count].tolist()


def test_equal_batches_give_equal_masks(pair):
    _, first = make(pair)
    _, second = make(pair)
    assert torch.equal(first.masks, second.masks)
    assert torch.equal(first.confidence, second.confidence)
    assert torch.equal(first.class_px, second.class_px)


def test_a_mask_does_not_depend_on_its_neighbours(pair):
    _, whole = make(pair, [5, 6, 7, 8])
    _, other = make(pair, [90, 6, 17, 90])
    assert (whole.masks[1] != other.masks[1]).float().mean() < 2e-3
    assert torch.allclose(whole.confidence[1], other.confidence[1], atol=1e-3)


def test_a_generator_without_its_feature_maps_is_refused_before_any_image(pair):
    _, segmenter, spec, path = pair
    if not segmenter.layers:
        pytest.skip("it needs no feature maps")
    x = {"x": LayerShape(1, 32, 32)}
    facts = GeneratorFacts(32, 0, (), x, styles=StyleFacts(("x",), (32,)), has_backgrounds=True)
    with pytest.raises(PluginError, match=f"needs feature map {segmenter.layers[0]!r}"):
        load_segmenter(spec.segmenter, path, facts, CPU)


@pytest.mark.parametrize("kind", sorted(k for k, method in METHODS.items() if method.fitter))
def test_a_segmenter_that_must_be_fitted_says_so(kind, tmp_path):
    spec = small_job(tmp_path, {"dataset.segmenter": section_of(kind, tmp_path)}).dataset.segmenter
    with pytest.raises(JobError, match="not fitted yet; run `factory fit` first"):
        load_segmenter(spec, None, build_generator("shapes").facts, CPU)
