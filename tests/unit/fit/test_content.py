from itertools import product

import pytest
import torch
from fit_context import make_context
from small_job import small_job

from factory.fit.content import best_layers, contents, score_layers
from factory.fit.klish import fit_klish
from factory.fit.pixels.pool import one_thread
from factory.generate.base import GeneratorFacts, LayerShape, load_generator
from factory.generate.weights.find import find_weights
from factory.segment.segmenter_file import decode_segmenter
from factory.segment.tree.layer_choice import describe_choice
from factory.spec import GeneratorSpec

CPU = torch.device("cpu")
PER_IMAGE, NUM_IMAGES = 64, 60


def scattered(seed=0):
    torch.manual_seed(seed)
    return torch.rand(NUM_IMAGES * PER_IMAGE, 2) * 2 - 1


def discs(places):
    """Whether a pixel lies in its image's disc, which is at another place in each."""
    centres = (torch.rand(NUM_IMAGES, 2) - 0.5).repeat_interleave(PER_IMAGE, dim=0)
    return ((places - centres).norm(dim=1) < 0.6).long()


def test_layers_that_see_the_same_things_have_content():
    places = scattered()
    seen = discs(places)
    blurred = torch.where(torch.rand(len(seen)) < 0.1, 1 - seen, seen)
    sharp, soft = contents([seen, blurred], places, PER_IMAGE)
    assert sharp == soft > 0.4


@pytest.mark.parametrize("kind", ["place", "image", "chance", "constant"])
def test_layers_that_agree_by_place_or_by_image_alone_have_none(kind):
    places = scattered()
    owners = {
        "place": (places[:, 0] > 0).long() + 2 * (places[:, 1] > 0).long(),
        "image": torch.arange(NUM_IMAGES).repeat_interleave(PER_IMAGE) % 4,
        "chance": torch.randint(4, (len(places),)),
        "constant": torch.zeros(len(places), dtype=torch.int64),
    }[kind]
    near = contents([owners, owners.clone()], places, PER_IMAGE)
    if kind == "chance":  # the same chance in both is something at a place
        assert near[0] > 0.9
    else:
        assert abs(near[0]) < 0.05


def test_a_layer_counts_by_both_its_neighbours():
    places = scattered()
    seen, left = discs(places), (places[:, 0] > 0).long()
    coarse, middle, fine = contents([left, seen, seen], places, PER_IMAGE)
    assert abs(coarse) < 0.05
    assert fine > 0.7
    assert middle == pytest.approx((coarse + fine) / 2)


def test_a_single_layer_is_chosen_for_want_of_another():
    assert contents([torch.zeros(64, dtype=torch.int64)], scattered()[:64], 64) == [1.0]


def facts(**layers):
    shapes = {name: LayerShape(c, side, side) for name, (c, side) in layers.items()}
    return GeneratorFacts(64, 0, (), shapes)


def test_layers_far_below_the_best_are_left_out_and_then_the_coarsest_beyond_1000_channels():
    offered = facts(a=(600, 4), b=(500, 8), c=(300, 16), d=(100, 32))
    scores = {"a": 0.05, "b": 0.3, "c": 0.2, "d": 0.09}
    assert best_layers(scores, offered) == ("b", "c")
    assert best_layers(scores | {"a": 0.3}, offered) == ("b", "c")
    assert best_layers({"a": 0.3, "b": -0.1}, offered) == ("a",)
    assert best_layers({"a": 0.0, "b": 0.0}, offered) == ("b",)


@pytest.mark.slow
def test_maps_of_the_shipped_generator_that_show_where_and_not_what_are_left_out(tmp_path):
    settings = {"kind": "stylegan2", "weights": "shipped:blood_cells"}
    dataset = small_job(tmp_path, {"dataset.generator": settings}).dataset
    weights = find_weights(dataset.generator, lambda *_: None)
    generator = load_generator(GeneratorSpec(**settings), weights.path, device=CPU)
    for seed, size in product((0, 1), (3, 8)):
        with one_thread(), torch.inference_mode():
            sized = dataset.model_copy(update={"batch_size": size})
            scores = score_layers(make_context(tmp_path, sized, generator), seed)
        assert best_layers(scores, generator.facts) == ("b16.conv1", "b32.conv1", "b64.conv1")
        assert max(scores["b4.conv1"], scores["b8.conv1"]) < 0.15
        assert scores["b16.conv1"] > 0.2


@pytest.mark.slow
def test_a_fit_reads_the_layers_it_chose_and_says_why(tmp_path):
    segmenter = {"kind": "klish", "initial_clusters": 5, "fit": {"num_images": 8}}
    dataset = small_job(tmp_path, {"dataset.segmenter": segmenter}).dataset
    with one_thread(), torch.inference_mode():
        data = fit_klish(dataset.segmenter, make_context(tmp_path, dataset))
    _, found = decode_segmenter(data, source="the fit")
    assert [name for name in found.fitted_on if name.startswith("content_of_")] == [
        *("content_of_s8", "content_of_s16", "content_of_s32")
    ]
    assert found.fitted_on["content_of_s8"] < found.fitted_on["content_of_s32"]
    assert describe_choice(found.layers, found.fitted_on).startswith("layers by content: s8 0.")


def test_a_choice_of_layers_is_told_with_its_reasons():
    figures = {"num_images": 3, "content_of_a": 0.021, "content_of_b": 0.3, "content_of_c": 0.2}
    assert describe_choice(["b", "c"], figures) == (
        "layers by content: b 0.30, c 0.20; left out: a 0.02"
    )
    assert describe_choice(["b"], {"content_of_b": 1.0}) == "layers by content: b 1.00"
    assert describe_choice(["b"], {"num_images": 3}) == ""
    assert describe_choice(["b"], {"content_of_b": -0.0004}) == "layers by content: b 0.00"
