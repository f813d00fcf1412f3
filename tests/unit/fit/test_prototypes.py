"""Shared classes of style mixing: k-means over the clusters of several images."""

import dataclasses

import pytest
import torch
from fit_context import make_context
from small_job import small_job

from factory.errors import JobError
from factory.fit.cost import Probe
from factory.fit.pixels.sampling import fitting_batch
from factory.fit.progress import Progress
from factory.fit.prototypes import COST, fit_prototypes
from factory.segment.base import generate_and_segment, load_segmenter
from factory.segment.segmenter_file import decode_segmenter

CPU = torch.device("cpu")
SETTINGS = {
    "kind": "style_mixing",
    "stop_px": 32,
    "num_variants": 8,
    "classes": {"num_classes": 3, "num_images": 5},
}


def context_for(folder, **classes):
    segmenter = SETTINGS | {"classes": SETTINGS["classes"] | classes}
    return make_context(folder, small_job(folder, {"dataset.segmenter": segmenter}).dataset)


def fit(context):
    with torch.inference_mode():
        return fit_prototypes(context.dataset.segmenter, context)


def test_a_prototype_per_class_is_kept_with_what_it_was_made_of(tmp_path):
    stages = []
    context = context_for(tmp_path)
    told = Progress(lambda stage, done, total, _: stages.append((stage, done, total)))
    data = fit(dataclasses.replace(context, progress=told))
    tensors, facts = decode_segmenter(data, source="f")
    channels = sum(context.generator.facts.layers[name].channels for name in facts.layers)
    assert tensors["prototypes"].shape == (3, channels)
    assert [label.name for label in facts.labels] == ["class_00", "class_01", "class_02"]
    assert facts.fitted_on["num_images"] == 5
    assert facts.fitted_on["num_clusters"] >= 5
    assert facts.margin_scale > 0
    assert ("mixing", 5, 5) in stages


def test_the_same_fit_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    first, again = fit(context_for(tmp_path)), fit(context_for(tmp_path))
    assert first == again
    assert fit(context_for(tmp_path, seed=1)) != first


def test_classes_are_numbered_by_decreasing_number_of_pixels(tmp_path):
    context = context_for(tmp_path, num_images=12)
    path = tmp_path / "s"
    path.write_bytes(fit(context))
    generator = context.generator
    segmenter = load_segmenter(context.dataset.segmenter, path, generator.facts, CPU)
    counts = torch.zeros(3, dtype=torch.int64)
    with torch.inference_mode():
        for batch in range(4):
            latents = fitting_batch(generator, context.dataset, 0, batch)
            masks = generate_and_segment(generator, segmenter, latents)[1].masks
            counts += torch.bincount(masks.flatten().long(), minlength=3)
    assert counts[0] == counts.max()


def test_more_classes_than_clusters_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(
        JobError, match=r"2 images have only \d+ clusters; raise classes\.num_images"
    ):
        fit(context_for(tmp_path, num_classes=200, num_images=2))


def test_a_fit_costs_its_images_and_its_stand_in_has_its_shape(tmp_path):
    context = context_for(tmp_path)
    probe = Probe(context.dataset, context.generator, CPU, 1)
    assert COST.seconds(context.dataset.segmenter, probe, 6.0) == 5 * 6.0 / 3
    with torch.inference_mode():
        tensors, facts = decode_segmenter(
            COST.stand_in(context.dataset.segmenter, probe), source="f"
        )
    assert len(tensors["prototypes"]) == len(facts.labels) == 3
