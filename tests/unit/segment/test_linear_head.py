import numpy as np
import pytest
import torch

from factory.errors import JobError, PluginError
from factory.generate.base import GeneratorFacts, LayerShape
from factory.generate.batch import ImageBatch
from factory.segment import linear_head
from factory.segment.base import load_segmenter
from factory.segment.linear_head import LinearHead
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import (
    SegmenterFacts,
    encode_segmenter,
    read_segmenter,
    weight_name,
)
from factory.spec import KMeansSpec

CPU = torch.device("cpu")
SIDE, CLASSES, SCALE = 16, 5, 0.7
CHANNELS = {"a": (3, 4), "b": (6, 8), "c": (2, 8), "d": (4, 16)}
FACTS = GeneratorFacts(SIDE, 0, (), {n: LayerShape(c, s, s) for n, (c, s) in CHANNELS.items()})
SPEC = KMeansSpec(kind="kmeans")


def head_file(folder, layers=tuple(CHANNELS)):
    torch.manual_seed(0)
    tensors = {weight_name(name): torch.randn(CLASSES, CHANNELS[name][0]) for name in layers}
    tensors["bias"] = torch.randn(CLASSES)
    facts = SegmenterFacts(
        kind="kmeans",
        generator_kind="toy",
        weights_sha256="",
        layers=list(layers),
        labels=list(unnamed_labels(CLASSES)),
        margin_scale=SCALE,
        fitted_on={},
    )
    path = folder / "head.safetensors"
    path.write_bytes(encode_segmenter(tensors, facts))
    return path


def test_half_a_pixel_puts_a_mask_where_its_map_is_and_aligned_corners_beside_it(tmp_path):
    """Class 1 is the first of four columns of a map, so that it is a quarter of the image."""
    widths = {}
    for corners in ("aligned", "half_pixel"):
        facts = read_segmenter(head_file(tmp_path, ("a",)))[1]
        facts = facts.model_copy(update={"labels": list(unnamed_labels(2)), "corners": corners})
        tensors = {weight_name("a"): torch.tensor([[0.0, 0, 0], [1, 0, 0]])}
        path = tmp_path / corners
        path.write_bytes(encode_segmenter(tensors | {"bias": torch.tensor([0.5, 0])}, facts))
        maps = torch.zeros(1, 3, 4, 4)
        maps[:, 0, :, 0] = 1
        batch = ImageBatch(torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8), {"a": maps})
        head = LinearHead(SPEC, path, FACTS, CPU)
        masks = head.segment(batch).masks
        widths[corners] = int(masks[0, 0].sum())
        assert torch.equal(masks.long(), head.class_scores(batch.features, SIDE).argmax(dim=1))
    assert widths == {"aligned": 3, "half_pixel": 4}


def test_a_file_that_aligns_corners_has_the_bytes_that_it_had_before_there_was_a_choice(tmp_path):
    assert b"corners" not in head_file(tmp_path).read_bytes()
    assert read_segmenter(head_file(tmp_path))[1].corners == "aligned"


@pytest.fixture
def batch():
    torch.manual_seed(1)
    features = {name: torch.randn(3, c, s, s) for name, (c, s) in CHANNELS.items()}
    return ImageBatch(torch.zeros(3, SIDE, SIDE, 3, dtype=torch.uint8), features)


def upsampled(maps, side):
    """Bilinear with corners aligned, written out in numpy: rows first, then columns."""
    h = maps.shape[2]
    place = np.linspace(0, h - 1, side)
    low = np.minimum(np.floor(place).astype(int), h - 2)
    share = (place - low)[:, None]
    rows = maps[:, :, low] * (1 - share) + maps[:, :, low + 1] * share
    return rows[..., low] * (1 - share[:, 0]) + rows[..., low + 1] * share[:, 0]


def reference_logits(path, batch):
    """The papers' way: upsample every map to the image, concatenate, multiply once."""
    tensors, facts = read_segmenter(path)
    maps = {name: batch.features[name].double().numpy() for name in facts.layers}
    stack = np.concatenate(
        [m if m.shape[-1] == SIDE else upsampled(m, SIDE) for m in maps.values()], axis=1
    )
    weights = np.concatenate([tensors[weight_name(name)].numpy() for name in maps], axis=1)
    logits = np.einsum("kc,nchw->nkhw", weights.astype(np.float64), stack)
    return logits + tensors["bias"].numpy()[None, :, None, None]


def scores_of(head, batch):
    """The head's logits, samples first."""
    return head.logits(batch).movedim(0, 1).numpy()


@pytest.mark.parametrize("layers", [tuple(CHANNELS), ("d",), ("a",), ("b", "c")])
def test_logits_are_those_of_upsampling_first(tmp_path, batch, layers):
    path = head_file(tmp_path, layers)
    head = LinearHead(SPEC, path, FACTS, CPU)
    expected = reference_logits(path, batch)
    assert np.abs(scores_of(head, batch) - expected).max() < 1e-4
    found = head.segment(batch)
    assert np.array_equal(found.masks.numpy(), expected.argmax(axis=1))


def test_confidence_is_the_mean_of_margin_over_margin_and_scale(tmp_path, batch):
    path = head_file(tmp_path)
    ordered = np.sort(reference_logits(path, batch), axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    expected = (margins / (margins + SCALE)).mean(axis=(1, 2))
    found = LinearHead(SPEC, path, FACTS, CPU).segment(batch).confidence
    assert np.abs(found.numpy() - expected).max() < 1e-5
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_features_that_are_no_numbers_give_their_mask_no_confidence(tmp_path, batch, bad, ignores):
    head = LinearHead(SPEC, head_file(tmp_path), FACTS, CPU, ignore_unclaimed=ignores)
    good = head.segment(batch).confidence
    for maps in batch.features.values():
        maps[1, :, 2, 3] = bad
    found = head.segment(batch).confidence
    assert found[0] == good[0]
    assert not found[1].isfinite()


def test_pixels_are_counted_for_each_class_of_each_mask(tmp_path, batch):
    found = LinearHead(SPEC, head_file(tmp_path), FACTS, CPU).segment(batch)
    for mask, counts in zip(found.masks, found.class_px, strict=True):
        assert counts.tolist() == torch.bincount(mask.flatten(), minlength=CLASSES).tolist()
    assert (found.class_px.sum(dim=1) == SIDE * SIDE).all()


def test_segmenting_leaves_its_input_alone(tmp_path, batch):
    before = {name: maps.clone() for name, maps in batch.features.items()}
    head = LinearHead(SPEC, head_file(tmp_path), FACTS, CPU)
    first = head.segment(batch)
    second = head.segment(batch)
    assert all(torch.equal(batch.features[name], before[name]) for name in before)
    assert torch.equal(first.masks, second.masks)
    assert torch.equal(first.confidence, second.confidence)


def test_half_precision_features_give_float32_logits(tmp_path, batch):
    path = head_file(tmp_path)
    half = ImageBatch(batch.images, {k: v.bfloat16() for k, v in batch.features.items()})
    head = LinearHead(SPEC, path, FACTS, CPU)
    assert head.logits(half).dtype == torch.float32
    assert np.abs(scores_of(head, half) - reference_logits(path, batch)).max() < 0.3


def test_a_segmenter_file_gives_its_tensors_and_facts_back(tmp_path):
    path = head_file(tmp_path)
    tensors, facts = read_segmenter(path)
    assert encode_segmenter(tensors, facts) == path.read_bytes()


def test_a_head_that_was_not_fitted_says_so():
    with pytest.raises(JobError) as caught:
        load_segmenter(SPEC, None, FACTS, CPU)
    assert str(caught.value) == "segmenter 'kmeans': not fitted yet; run `factory fit` first"


def test_a_damaged_segmenter_file_says_so(tmp_path):
    path = tmp_path / "s"
    path.write_bytes(b"hello")
    with pytest.raises(JobError) as caught:
        load_segmenter(SPEC, path, FACTS, CPU)
    assert str(caught.value) == (f"{path}: not a segmenter file; make one with `factory fit`")


def test_a_head_of_another_generator_is_refused_before_any_image(tmp_path):
    facts = GeneratorFacts(SIDE, 0, (), {"a": LayerShape(3, 4, 4), "x": LayerShape(1, 4, 4)})
    with pytest.raises(PluginError) as caught:
        load_segmenter(SPEC, head_file(tmp_path), facts, CPU)
    assert str(caught.value) == (
        "segmenter 'kmeans': needs feature map 'b', the generator offers a, x; fit it on this "
        "generator"
    )


def test_names_and_colours_of_unnamed_classes_are_all_different():
    labels = unnamed_labels(255)
    assert [label.id for label in labels] == list(range(255))
    assert labels[7].name == "cluster_07"
    assert len({label.name for label in labels}) == 255
    assert len({label.colour for label in labels}) == 255


@pytest.mark.parametrize("num_classes", [2, 3, 17, 254])
@pytest.mark.parametrize("ties", [False, True])
def test_the_best_class_and_its_lead_are_those_of_sorted_scores(num_classes, ties):
    scores = torch.randn(num_classes, 2, 9, 11, generator=torch.Generator().manual_seed(1))
    scores = scores.round() if ties else scores
    # A stable sort of what is negated: of equal scores the first class comes first.
    ordered, places = (-scores).sort(dim=0, stable=True)
    best, ids, lead = linear_head._best_class(scores.clone())
    assert ids.dtype == torch.uint8
    assert torch.equal(ids.long(), places[0])
    assert torch.equal(best, -ordered[0])
    assert torch.equal(lead, ordered[1] - ordered[0])
    assert not ties or (lead == 0).any()
