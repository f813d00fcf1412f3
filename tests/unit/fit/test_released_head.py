"""Extractors in the layouts of LinearGAN's authors: taken by their own dims, or refused."""

import io
import json
from pathlib import Path

import pytest
import torch
from small_job import small_job
from torch.nn import functional

from factory.checkpoint.extractor import Extractor, read_extractor
from factory.errors import JobError, WeightsError
from factory.fit.fitted import fit_segmenter
from factory.fit.pixels.sampling import fitting_batch
from factory.fit.released_head import find_maps
from factory.generate.base import GeneratorFacts, LayerShape, load_generator
from factory.generate.batch import ImageBatch
from factory.generate.weights.find import find_weights
from factory.segment.base import load_segmenter
from factory.segment.segmenter_file import decode_segmenter
from factory.spec.linear import LinearSpec

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parents[2] / "golden"
FILES = {
    "lineargan_lse_full": ["b4.conv1", *(f"b{r}.conv{i}" for r in (8, 16, 32, 64) for i in (0, 1))],
    "lineargan_lse_fewshot_legacy": [
        "b4.conv1",
        *(f"b{r}.conv{i}" for r in (8, 16, 32, 64) for i in (0, 1)),
    ],
    "lineargan_lse_web_subset": ["b32.conv0", "b64.conv0"],
}
SIXTY_FOUR = {
    "kind": "stylegan2",
    "weights": str(GOLDEN / "parity" / "sg2ada_u64_psi1.safetensors"),
}


def job(folder, file, generator=SIXTY_FOUR, **settings):
    section = {"kind": "linear", "extractor": str(file), **settings}
    return small_job(folder, {"dataset.segmenter": section, "dataset.generator": generator}).dataset


def fit(folder, file, **settings):
    dataset = job(folder, file, **settings)
    weights = find_weights(dataset.generator)
    return (
        dataset,
        weights,
        fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *_: None),
    )


def stored(file):
    """The file's own numbers, read by torch."""
    whole = torch.load(file, weights_only=True)
    return whole["arch"], whole["param"]


@pytest.mark.parametrize("name", FILES)
def test_its_masks_are_those_of_the_authors_formula_on_the_layers_it_was_trained_on(name, tmp_path):
    file = GOLDEN / "linear" / f"{name}.pth"
    arch, param = stored(file)
    dataset, weights, data = fit(tmp_path, file)
    assert decode_segmenter(data, source="head")[1].layers == FILES[name]
    generator = load_generator(dataset.generator, weights.path, device=CPU)
    (tmp_path / "head.safetensors").write_bytes(data)
    head = load_segmenter(dataset.segmenter, tmp_path / "head.safetensors", generator.facts, CPU)
    with torch.inference_mode():
        batch = generator.generate(fitting_batch(generator, dataset, 1, 0), head.layers)
        numbers = param["layer_weight"]
        positive = functional.softplus(numbers)
        factors = positive / positive.sum() if arch["lw_type"] == "softplus" else torch.ones(99)
        wanted = sum(
            functional.interpolate(
                functional.conv2d(batch.features[layer], param[f"extractor.{i}.weight"])
                * factors[i],
                (64, 64),
                mode="bilinear",
                align_corners=True,
            )
            for i, layer in enumerate(FILES[name])
        )
        found = head.segment(ImageBatch(batch.images, batch.features))
        torch.testing.assert_close(head.logits(batch).movedim(0, 1), wanted, atol=2e-5, rtol=1e-4)
    assert torch.equal(found.masks.long(), wanted.argmax(dim=1)) or (
        (found.masks != wanted.argmax(dim=1)).float().mean() < 1e-3
    )
    assert float(found.confidence.mean()) == pytest.approx(0.5, abs=0.15)


def test_its_classes_can_be_named_and_have_numbers_otherwise(tmp_path):
    file = GOLDEN / "linear" / "lineargan_lse_full.pth"
    facts = decode_segmenter(fit(tmp_path, file)[2], source="head")[1]
    assert [label.name for label in facts.labels] == [f"class_0{i}" for i in range(5)]
    named = fit(tmp_path, file, classes=["skin", "hair", "eye", "nose", "mouth"])[2]
    assert decode_segmenter(named, source="head")[1].labels[3].name == "nose"
    with pytest.raises(JobError, match=r"classes: found 2, .*full\.pth has 5; name all of them"):
        fit(tmp_path, file, classes=["skin", "hair"])


def facts_of(*shapes):
    return GeneratorFacts(64, 0, (), {name: LayerShape(c, s, s) for name, c, s in shapes})


STYLE = facts_of(
    ("b4.conv1", 9, 4),
    ("b8.conv0", 9, 8),
    ("b8.conv1", 8, 8),
    ("b16.conv0", 7, 16),
    ("b16.conv1", 7, 16),
)
GROWN = facts_of(
    ("layer0", 9, 4), ("layer1", 9, 4), ("layer2", 8, 8), ("layer3", 8, 8), ("layer4", 7, 16),
    ("layer5", 7, 16),
)  # fmt: skip


def maps_of(numbers, dims, facts, kind, **settings):
    none = torch.zeros(0)
    found = Extractor(tuple(numbers), tuple(dims), "none", none, (), ())
    spec = LinearSpec(extractor="it.pth", **settings)
    return find_maps(found, facts, kind, spec, "it.pth")


def test_a_list_with_the_constant_first_is_known_by_its_dims():
    assert maps_of([1, 2], [9, 8], STYLE, "stylegan2") == ("b8.conv0", "b8.conv1")
    shifted = maps_of([3, 4], [8, 7], STYLE, "stylegan2")
    assert shifted == ("b8.conv1", "b16.conv0"), "KLiSH's numbers, one more than LinearGAN's"


def test_a_layer_that_could_be_two_maps_is_refused_unless_the_job_says_which():
    with pytest.raises(JobError) as caught:
        maps_of([4], [7], STYLE, "stylegan2")
    assert str(caught.value) == (
        "dataset.segmenter.extractor: it.pth can read b16.conv1 (as LinearGAN counts) or b16.conv0 (as "
        "KLiSH counts); say which in `layers`"
    )
    chosen = maps_of([4], [7], STYLE, "stylegan2", layers=["b16.conv0"])
    assert chosen == ("b16.conv0",)
    with pytest.raises(
        JobError, match=r"layers: found b8\.conv1, but it\.pth reads other feature maps"
    ):
        maps_of([4], [7], STYLE, "stylegan2", layers=["b8.conv1"])


def test_an_older_generator_has_one_map_per_resolution_in_linear_gan_and_two_in_klish():
    assert maps_of([0, 1, 2], [9, 8, 7], GROWN, "pggan") == ("layer1", "layer3", "layer5")
    assert maps_of([1, 2, 5], [9, 8, 7], GROWN, "stylegan1") == ("layer1", "layer2", "layer5")


def test_the_constant_is_no_feature_map_here():
    with pytest.raises(JobError, match="reads the generator's learned constant"):
        maps_of(range(6), [9, 9, 9, 8, 7, 7], STYLE, "stylegan2")


def test_dims_that_fit_neither_list_are_refused(tmp_path):
    with pytest.raises(JobError) as caught:
        maps_of([0, 1], [16, 8], STYLE, "stylegan2")
    assert str(caught.value) == (
        "dataset.segmenter.extractor: it.pth reads layers 0, 1 of 16, 8 channels, which are no feature "
        "maps of this generator (channels 9, 9, 8, 7, 7) in the order of LinearGAN's program or "
        "KLiSH's; use the generator that it was trained on"
    )


def changed(folder, **changes):
    """The full file with other parts, written by torch."""
    arch, param = stored(GOLDEN / "linear" / "lineargan_lse_web_subset.pth")
    whole = {"arch": dict(arch), "param": dict(param)}
    for key, value in changes.items():
        part, _, name = key.partition("__")
        if value is None:
            whole.pop(part) if not name else whole[part].pop(name)
        elif name:
            whole[part][name] = value
        else:
            whole[part] = value
    path = folder / "changed.pth"
    torch.save(whole, path)
    return path


def test_biases_are_read_and_weighed_like_their_layers(tmp_path):
    biases = {f"param__extractor.{i}.bias": torch.full((6,), 1.0 + i) for i in range(2)}
    file = changed(tmp_path, **biases)
    assert [float(one[0]) for one in read_extractor(file).biases] == [1, 2]
    tensors, _ = decode_segmenter(fit(tmp_path, file)[2], source="head")
    assert tensors["bias"].tolist() == pytest.approx([0.217917 + 2 * 0.782083] * 6, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch__type": "NSE-1"}, "an extractor of type 'NSE-1', which is not linear"),
        ({"arch": None}, "no `arch`, which says what kind"),
        ({"param": None}, "no extractor in it"),
        ({"arch__lw_type": "tanh"}, "layer weights 'tanh'; known: none, softplus, sigmoid"),
        ({"arch__n_class": 7}, r"'extractor.0.weight' of shape \(6, 32, 1, 1\)"),
        ({"arch__n_class": True}, "`n_class` that is no list of numbers"),
        ({"arch__n_class": 10**9}, "`n_class` that is no list of numbers"),
        ({"arch__dims": [32, 16, 16]}, "6 classes, 3 dims and 2 layers"),
        ({"arch__layers": [5, 5]}, "6 classes, 2 dims and 2 layers"),
        ({"arch__layers": "57"}, "`layers` that is no list of numbers"),
        ({"arch__layers": [-1, 5]}, "`layers` that is no list of numbers"),
        ({"param__layer_weight": torch.zeros(3)}, r"'layer_weight' of shape \(3,\)"),
        ({"param__extractor.1.weight": torch.full((6, 16, 1, 1), torch.nan)}, "not finite"),
        ({"param__extractor.1.weight": "text"}, "'extractor.1.weight' of shape none"),
    ],
)
def test_a_file_that_is_no_whole_linear_extractor_is_refused_in_one_line(
    changes, message, tmp_path
):
    with pytest.raises(WeightsError, match=message) as caught:
        read_extractor(changed(tmp_path, **changes))
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    sink = io.BytesIO()
    torch.save({"arch": Bomb(), "param": {}}, sink)
    (tmp_path / "bomb.pth").write_bytes(sink.getvalue())
    with pytest.raises(WeightsError):
        read_extractor(tmp_path / "bomb.pth")
    assert capsys.readouterr().out == ""


def test_a_file_that_is_cut_short_or_missing_is_told(tmp_path):
    data = (GOLDEN / "linear" / "lineargan_lse_full.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[:-500])
    with pytest.raises(WeightsError):
        read_extractor(tmp_path / "cut.pth")
    with pytest.raises(JobError, match=r"segmenter\.extractor: .*gone\.pth cannot be read"):
        fit(tmp_path, tmp_path / "gone.pth")
    (tmp_path / "text.pth").write_text(json.dumps({"arch": 1}))
    with pytest.raises(WeightsError):
        read_extractor(tmp_path / "text.pth")
