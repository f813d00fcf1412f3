import json
import threading

import pytest
import torch
from contract.test_generators import build, draw
from small_job import make_small, small_job

from factory.errors import Interrupted, JobError
from factory.fit.distil import measure_agreement
from factory.fit.fitted import fit_segmenter
from factory.generate.weights.find import find_weights
from factory.segment.base import generate_and_segment, load_segmenter
from factory.segment.segmenter_file import decode_segmenter, read_segmenter
from factory.segment.tree.hierarchy import read_hierarchy
from factory.spec.read import load_job

CPU = torch.device("cpu")
THRESHOLD = "plugins.mixing_plugins:Threshold"
TEACHERS = {
    "kmeans": {"kind": "kmeans", "num_clusters": 3, "fit": {"num_images": 8}},
    "klish": {"kind": "klish", "cut": 3, "initial_clusters": 12, "fit": {"num_images": 8}},
    "style_mixing": {"kind": "style_mixing", "stop_px": 32, "num_variants": 8},
    "plugin": {"kind": "plugins.mixing_plugins:Parts"},
}


def distil(folder, teacher, generator=None, **settings):
    segmenter = {"kind": "distil", "teacher": teacher, "samples": 24, **settings}
    overrides = {"dataset.segmenter": segmenter}
    if generator:
        overrides["dataset.generator"] = generator
    dataset = small_job(folder, overrides).dataset
    weights = find_weights(dataset.generator)
    data = fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *_: None)
    path = folder / "head.safetensors"
    path.write_bytes(data)
    return dataset, path


@pytest.mark.slow
@pytest.mark.parametrize("name", TEACHERS)
def test_a_head_repeats_any_teacher_on_images_neither_has_seen(name, tmp_path):
    dataset, path = distil(tmp_path, TEACHERS[name], min_agreement=0.6)
    facts = read_segmenter(path)[1]
    assert facts.kind == "distil"
    assert facts.fitted_on["agreement"] > 0.6
    assert facts.fitted_on["num_images"] + facts.fitted_on["num_held_out"] < 24
    toy = build("shapes")
    head = load_segmenter(dataset.segmenter, path, toy.facts, CPU)
    batch = toy.generate(draw(toy, range(8)), head.layers)
    found = head.segment(batch)
    truth = toy.masks(draw(toy, range(8)))
    assert len(head.labels) == {"kmeans": 3, "klish": 3, "style_mixing": 2, "plugin": 4}[name]
    if name in ("style_mixing", "plugin"):
        wanted = truth if name == "plugin" else (truth > 0).long()
        assert (found.masks == wanted).float().mean() > 0.85


@pytest.mark.slow
def test_a_head_of_cells_is_about_as_good_as_style_mixing(tmp_path):
    dataset, path = distil(
        tmp_path,
        {"kind": "style_mixing", "num_variants": 8},
        {"kind": "stylegan2", "weights": "shipped:blood_cells"},
        layers=["b64.conv0", "b64.conv1"],
    )
    assert read_segmenter(path)[1].fitted_on["agreement"] > 0.85
    cells = build("stylegan2")
    teacher = load_segmenter(dataset.segmenter.teacher, None, cells.facts, CPU)
    head = load_segmenter(dataset.segmenter, path, cells.facts, CPU)
    with torch.inference_mode():
        _, slow = generate_and_segment(cells, teacher, draw(cells, range(4)))
        _, quick = generate_and_segment(cells, head, draw(cells, range(4)))
    assert (slow.masks == quick.masks).float().mean() > 0.95


def test_the_same_fit_gives_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (distil(tmp_path / n, TEACHERS["plugin"])[1].read_bytes() for n in "ab")
    assert first == second


def test_progress_is_told_by_stages_and_a_stop_ends_the_labelling(tmp_path):
    segmenter = {"kind": "distil", "teacher": TEACHERS["kmeans"], "samples": 24}
    dataset = small_job(
        tmp_path, {"dataset.segmenter": segmenter, "dataset.latents.seed": 7}
    ).dataset
    stop, stages = threading.Event(), []

    def on_progress(stage, num_done, num_total, eta_s):
        stages.append(stage)
        if stage == "labelling":
            stop.set()

    weights = find_weights(dataset.generator)
    with pytest.raises(Interrupted):
        fit_segmenter(dataset, weights, device=CPU, on_progress=on_progress, stop=stop)
    assert list(dict.fromkeys(stages)) == ["sampling", "clusters", "labelling"]
    stages.clear()
    stop.clear()
    fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *told: stages.append(told[0]))
    assert set(stages) == {"labelling"}, "the teacher was kept"


@pytest.mark.slow
def test_a_teacher_s_named_classes_are_the_head_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher = {"kind": "klish", "initial_clusters": 12, "fit": {"num_images": 8}}
    taught = small_job(tmp_path, {"dataset.segmenter": teacher}).dataset
    weights = find_weights(taught.generator)
    data = fit_segmenter(taught, weights, device=CPU, on_progress=lambda *_: None)
    tree = read_hierarchy(decode_segmenter(data, source="f")[0])
    nodes = tree.flat_cut(2)
    labels = [
        {"name": name, "colour": "#123456", "nodes": [node]}
        for name, node in zip(("back", "front"), nodes, strict=True)
    ]
    (tmp_path / "labels.yaml").write_text(json.dumps({"tree": tree.digest(), "labels": labels}))
    job = {
        "name": "named",
        "dataset": {
            "num_samples": 8,
            "batch_size": taught.batch_size,
            "generator": {"kind": "shapes"},
            "latents": taught.latents.model_dump(),
            "segmenter": {
                "kind": "distil",
                "samples": 16,
                "min_agreement": 0,
                "teacher": {**teacher, "labels": "labels.yaml"},
            },
        },
        "output": {"uri": "out"},
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    dataset = load_job(tmp_path / "job.yaml").dataset
    head = fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *_: None)
    assert [label.name for label in decode_segmenter(head, source="f")[1].labels] == [
        "back",
        "front",
    ]


def test_rejected_and_uncertain_masks_are_left_out_and_counted(tmp_path):
    teacher = {"kind": THRESHOLD, "settings": {"disown": 3}}
    _, path = distil(tmp_path, teacher, drop_share=0.5, min_agreement=0)
    facts = read_segmenter(path)[1].fitted_on
    assert facts["num_rejected"] == 8, "the first of each batch of three"
    assert facts["num_uncertain"] == 8
    assert (facts["num_images"], facts["num_held_out"]) == (6, 2)


def test_too_little_agreement_fails_and_says_what_to_do(tmp_path):
    teacher = {"kind": THRESHOLD, "settings": {"noise": True}}
    with pytest.raises(JobError) as caught:
        distil(tmp_path, teacher, min_agreement=0.7)
    message = str(caught.value)
    assert message.startswith("dataset.segmenter.min_agreement: head and teacher agree by 0.")
    assert "on 4 held-out images (mean IoU; least for '" in message
    assert message.endswith(
        "the job asks for 0.7; raise samples or drop_share, name more layers, choose another "
        "teacher, or lower it"
    )


def test_a_teacher_of_one_class_has_nothing_to_teach(tmp_path):
    with pytest.raises(JobError) as caught:
        distil(tmp_path, {"kind": THRESHOLD, "settings": {"only": 1}})
    assert str(caught.value) == (
        "dataset.segmenter.teacher: its masks hold one class only, 'bright': there is nothing to "
        "tell apart; choose another teacher"
    )


def test_a_teacher_that_disowns_everything_is_told_with_counts(tmp_path):
    with pytest.raises(JobError) as caught:
        distil(tmp_path, {"kind": THRESHOLD, "settings": {"disown": 1}})
    assert str(caught.value) == (
        "dataset.segmenter.samples: 0 of 24 masks can be used (rejected disowned: 24; uncertain: 0), "
        "found 24; ask for more, or loosen the teacher's rules"
    )


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"kind": "distil", "teacher": {"kind": "kmeans"}}, "dataset.segmenter.teacher"),
        ({"kind": "klish", "fitted": "tree.safetensors"}, "leave out `fitted`"),
        ({"kind": "style_mixing", "instances": {}}, "a linear head tells no objects apart"),
        (
            {"kind": "kmeans", "num_cluster": 3},
            "dataset.segmenter.teacher.num_cluster: unknown key",
        ),
    ],
)
def test_a_teacher_that_cannot_be_is_refused_by_the_job_file(tmp_path, teacher, message):
    with pytest.raises(JobError, match=message):
        small_job(tmp_path, {"dataset.segmenter": {"kind": "distil", "teacher": teacher}})


def test_the_manifest_says_how_well_head_and_teacher_agree(tmp_path):
    segmenter = {"kind": "distil", "teacher": TEACHERS["plugin"], "samples": 24}
    manifest = make_small(tmp_path, {"dataset.segmenter": segmenter})
    assert manifest.meaning.fitted_on["agreement"] > 0.8
    assert [label.name for label in manifest.meaning.labels][:2] == ["ground", "square"]


def test_agreement_is_the_mean_iou_over_classes_that_occur():
    weights, bias = torch.eye(3), torch.zeros(3)
    vectors = torch.eye(3)[[0, 0, 0, 1, 1]]
    found = measure_agreement(vectors, torch.tensor([0, 0, 1, 1, 1]), weights, bias)
    assert found.accuracy == pytest.approx(4 / 5)
    assert found.mean_iou == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found.worst_class in (0, 1)
    assert found.worst_iou == pytest.approx(2 / 3)
