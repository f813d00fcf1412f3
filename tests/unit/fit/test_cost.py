import pytest
import torch
from painting import paint, painted_section
from small_job import small_job

from factory.fit.cost import LIKELY_CLASSES, Probe, fit_seconds, load_stand_in
from factory.generate.base import load_generator

CPU = torch.device("cpu")


def probe_of(folder, segmenter, num_threads=1):
    dataset = small_job(folder, {"dataset.segmenter": segmenter}).dataset
    return Probe(dataset, load_generator(dataset.generator, None, device=CPU), CPU, num_threads)


@pytest.mark.parametrize(
    ("segmenter", "num_classes"),
    [
        ({"kind": "kmeans", "num_clusters": 7}, 7),
        ({"kind": "klish", "cut": 5}, 5),
        ({"kind": "klish", "initial_clusters": 9}, 9),
        ({"kind": "klish"}, LIKELY_CLASSES),
        ({"kind": "style_mixing"}, 2),
        ({"kind": "style_mixing", "classes": {"num_classes": 6}}, 6),
        ({"kind": "distil", "teacher": {"kind": "kmeans"}}, 2),
    ],
)
def test_a_stand_in_has_the_classes_that_the_fitted_one_will_have(tmp_path, segmenter, num_classes):
    with torch.inference_mode():
        assert len(load_stand_in(probe_of(tmp_path, segmenter)).labels) == num_classes


def test_a_stand_in_reads_the_layers_that_the_job_names(tmp_path):
    with torch.inference_mode():
        found = load_stand_in(probe_of(tmp_path, {"kind": "kmeans", "layers": ["s16"]}))
    assert found.layers == ("s16",)


def test_a_fit_of_images_takes_as_long_as_their_batches(tmp_path):
    segmenter = {"kind": "style_mixing", "classes": {"num_classes": 3, "num_images": 60}}
    probe = probe_of(tmp_path, segmenter)
    assert fit_seconds(probe, 2.0) == 60 * 2.0 / probe.dataset.batch_size


def test_what_needs_no_fit_takes_no_time(tmp_path):
    assert fit_seconds(probe_of(tmp_path, {"kind": "style_mixing"}), 2.0) == 0


def test_a_head_whose_teacher_tells_nothing_of_its_fit_is_not_foreseen_either(tmp_path):
    teacher = painted_section(paint(tmp_path / "painted"))
    with torch.inference_mode():
        assert fit_seconds(probe_of(tmp_path, {"kind": "distil", "teacher": teacher}), 1.0) is None
