"""What every generator asks of a request before it computes anything."""

import numpy as np
import pytest
import torch

from factory.data import LatentBatch
from factory.errors import JobError, WeightsError
from factory.generate.base import GeneratorFacts, LayerShape
from factory.generate.contract import (
    check_cutoff,
    check_layers,
    check_noise,
    class_ids,
    facts_of,
    numerics,
    open_weights,
    z_of,
)
from factory.generate.weights.find import TensorBag, WeightsContent
from factory.spec import GeneratorSpec

CPU = torch.device("cpu")
LAYERS = {"b4": LayerShape(8, 4, 4), "b8": LayerShape(4, 8, 8)}


def latents(labels=(0, 1), cutoff=None):
    count = len(labels)
    return LatentBatch(
        indices=np.arange(count),
        z=np.full((count, 3), 1 / 3),
        class_labels=np.array(labels, dtype=np.int64),
        truncation_psi=1.0,
        truncation_cutoff=cutoff,
        noise_seed=None,
    )


def content_of(metadata):
    return WeightsContent(TensorBag({}, source="a file"), {}, metadata)


def test_a_generator_without_weights_in_the_job_says_which_setting_is_missing():
    with pytest.raises(WeightsError, match=r"generator\.weights: missing; stylegan2 needs a wei"):
        open_weights(GeneratorSpec(kind="stylegan2"), None)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_every_precision_of_a_job_has_its_dtype(name):
    found = numerics(GeneratorSpec(kind="stylegan2", precision=name), CPU)
    assert (str(found.dtype), found.device) == (f"torch.{name}", CPU)


def test_what_the_file_says_of_itself_becomes_the_facts_and_what_it_leaves_out_is_empty():
    metadata = {"class_names": '["cat", "dog"]', "license": "CC0", "attribution": "A. Body"}
    content = content_of(metadata)
    facts = facts_of(content, resolution=8, channels=3, num_classes=2, layers=LAYERS)
    assert facts.class_names == ("cat", "dog")
    assert (facts.license, facts.attribution) == ("CC0", "A. Body")
    bare = facts_of(content_of({}), resolution=8, channels=3, num_classes=0, layers=LAYERS)
    assert (bare.class_names, bare.license, bare.attribution) == ((), "", "")


def test_noise_for_each_sample_is_refused_where_there_is_none_and_the_others_are_the_same():
    for noise in ("const", "none"):
        check_noise(GeneratorSpec(kind="dcgan", noise=noise))
    with pytest.raises(JobError, match="dcgan has no noise inputs; use 'const' or 'none'"):
        check_noise(GeneratorSpec(kind="dcgan", noise="per_sample"))


def test_a_feature_map_that_is_not_there_is_refused_with_those_that_are():
    facts = GeneratorFacts(8, 0, (), LAYERS)
    check_layers(["b8", "b4"], facts)
    with pytest.raises(JobError, match="no feature map 'b16'; it has b4, b8"):
        check_layers(["b4", "b16"], facts)


def test_style_rows_are_cut_only_where_there_are_some():
    check_cutoff(latents())
    with pytest.raises(JobError, match="truncation_cutoff: found 0; this generator has no style"):
        check_cutoff(latents(cutoff=0))


def test_latents_reach_the_device_in_single_precision():
    z = z_of(latents(), CPU)
    assert z.dtype == torch.float32
    assert z.tolist() == [[np.float32(1 / 3)] * 3] * 2


def test_classes_are_asked_of_generators_that_have_them():
    assert class_ids(latents((-1, -1)), 0, CPU) is None
    assert class_ids(latents((0, 2)), 3, CPU).tolist() == [0, 2]


@pytest.mark.parametrize("labels", [(-1, 0), (0, 3)])
def test_a_label_that_is_no_class_is_refused_before_it_becomes_an_index(labels):
    with pytest.raises(JobError) as caught:
        class_ids(latents(labels), 3, CPU)
    assert str(caught.value) == (
        f"dataset.latents.classes: found classes {labels[0]} to {labels[1]}; this generator needs "
        "one of 0 to 2 for every sample"
    )
