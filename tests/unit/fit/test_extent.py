"""Maps of a broken generator: what a fit would otherwise make of rounding, or of NaN."""

import pytest
import torch
from fit_context import make_context
from safetensors.torch import load
from small_job import small_job

from factory.errors import JobError
from factory.fit.content import score_layers
from factory.fit.klish import fit_klish
from factory.fit.kmeans import fit_kmeans
from factory.fit.pixels.pool import one_thread
from factory.generate.batch import ImageBatch
from factory.generate.shapes import ShapesGenerator
from factory.segment.segmenter_file import weight_name
from factory.segment.tree.hierarchy import read_hierarchy

CPU = torch.device("cpu")
SMALL = {"num_images": 8, "pixels_per_image": 64}
KLISH = {"kind": "klish", "initial_clusters": 12, "fit": SMALL}
KMEANS = {"kind": "kmeans", "num_clusters": 4, "fit": SMALL}


class Changed(ShapesGenerator):
    """The toy, some of whose maps are replaced."""

    changes: dict

    def generate(self, latents, layers):
        made = super().generate(latents, layers)
        maps = {name: self.changes.get(name, lambda m: m)(m) for name, m in made.features.items()}
        return ImageBatch(made.images, maps)


def constant(maps):
    """The same vector everywhere; between pixels, reading rounds it."""
    values = torch.linspace(0.1, 300, maps.shape[1])
    return values[:, None, None].expand(maps.shape).clone()


def almost(maps):
    """The same vector everywhere, but for the last digits."""
    return constant(maps) * (1 + 2e-7 * maps.sign())


def context_with(folder, section, **changes):
    dataset = small_job(folder, {"dataset.segmenter": section}).dataset
    generator = Changed(dataset.generator, None, CPU)
    generator.changes = changes
    return make_context(folder, dataset, generator)


def fit(folder, section, **changes):
    context = context_with(folder, section, **changes)
    spec = context.dataset.segmenter
    with one_thread(), torch.inference_mode():
        return (fit_klish if spec.kind == "klish" else fit_kmeans)(spec, context)


def refusal(folder, section, **changes):
    with pytest.raises(JobError) as caught:
        fit(folder, section, **changes)
    return str(caught.value)


@pytest.mark.parametrize("same", [constant, almost])
@pytest.mark.parametrize(
    "section",
    [KLISH, KLISH | {"merging": "published"}, KMEANS],
    ids=["robust", "published", "kmeans"],
)
def test_layers_that_are_all_constant_are_refused_by_name(tmp_path, section, same):
    told = refusal(tmp_path, section | {"layers": ["s8", "s16"]}, s8=same, s16=same)
    assert told == (
        "dataset.segmenter.layers: s8, s16: the same at all 512 fitting pixels, so that there is "
        "nothing to tell apart; fit on other layers, or check the generator's weights with `factory "
        "inspect`"
    )


@pytest.mark.parametrize("layers", ["auto", ["s8", "s16"]])
@pytest.mark.parametrize("section", [KLISH, KMEANS], ids=["klish", "kmeans"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_features_that_are_no_numbers_are_counted_by_layer(tmp_path, section, value, layers):
    def broken(maps):
        changed = maps.clone()
        changed[:, 2:4] = value
        return changed

    told = refusal(tmp_path, section | {"layers": layers}, s16=broken)
    count = "8192 of 49152" if layers == "auto" and section is KLISH else "1024 of 6144"
    assert told == (
        f"dataset.segmenter.layers: s16 ({count} values): NaN or infinite at the fitting pixels; fit on "
        "other layers, or check the generator's weights with `factory inspect`"
    )


@pytest.mark.slow
def test_a_constant_layer_beside_good_ones_decides_nothing(tmp_path):
    tensors = load(fit(tmp_path, KLISH | {"layers": ["s8", "s16"]}, s8=almost))
    assert not tensors[weight_name("s8")].any()
    assert not read_hierarchy(tensors).planes[:, :12].any()
    assert tensors[weight_name("s16")].any()


def test_a_constant_layer_is_not_chosen_and_says_nothing_of_its_neighbours(tmp_path):
    with one_thread(), torch.inference_mode():
        found = score_layers(context_with(tmp_path, KLISH, s16=almost), 0)
    assert list(found) == ["s8", "s32"]
    assert found["s8"] == found["s32"] > 0.05, (
        "of each other's clusters, not of the one between them"
    )


def test_a_layer_in_which_one_channel_changes_is_as_good_as_any(tmp_path):
    def one(maps):
        return torch.cat([maps[:, :1], constant(maps)[:, 1:]], dim=1)

    assert fit(tmp_path, KMEANS | {"layers": ["s16"]}, s16=one)
