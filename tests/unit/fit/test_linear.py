import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from contract.test_generators import build, draw
from painted import NUMBERS, exact_masks, linear_section, painted_folder, pictures_folder
from small_job import make_small, small_job

from factory.data import IGNORE
from factory.errors import Interrupted, JobError
from factory.fit.cost import Probe, fit_seconds, load_stand_in
from factory.fit.fitted import fit_segmenter
from factory.fit.named_files import digest_named_files
from factory.fit.painted_maps import generate_maps
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights, find_weights
from factory.pack.image import decode_mask, encode_mask
from factory.segment.base import load_segmenter
from factory.segment.segmenter_file import decode_segmenter, weight_name

CPU = torch.device("cpu")


def fit(folder, section, *, on_progress=lambda *_: None, stop=None, **overrides):
    dataset = small_job(folder, {"dataset.segmenter": section, **overrides}).dataset
    weights = LocalWeights(None, "")
    data = fit_segmenter(dataset, weights, device=CPU, on_progress=on_progress, stop=stop)
    return dataset, data


def accuracy(folder, dataset, data, indices=range(12)):
    """Share of right pixels in images that nobody painted."""
    toy = build("shapes")
    path = folder / "head.safetensors"
    path.write_bytes(data)
    head = load_segmenter(dataset.segmenter, path, toy.facts, CPU)
    found = head.segment(toy.generate(draw(toy, indices), head.layers))
    return float((found.masks == toy.masks(draw(toy, indices))).float().mean())


def test_three_painted_pictures_give_masks_of_pictures_nobody_painted(tmp_path):
    dataset, data = fit(tmp_path, linear_section(painted_folder(tmp_path / "p")))
    tensors, facts = decode_segmenter(data, source="head")
    assert [label.name for label in facts.labels] == ["ground", "square", "disc", "core"]
    assert facts.layers == ["s8", "s16", "s32"], "all feature maps, as the authors do"
    assert set(tensors) == {"bias", *(weight_name(layer) for layer in facts.layers)}
    assert facts.fitted_on["num_pictures"] == 3
    assert facts.fitted_on["num_pixels"] == 3 * 32 * 32
    assert facts.fitted_on["epochs"] == 6
    assert facts.fitted_on["agreement"] > 0.9
    assert accuracy(tmp_path, dataset, data) > 0.95


def test_a_fifth_of_the_pixels_is_enough_because_the_rest_does_not_count(tmp_path):
    dataset, data = fit(tmp_path, linear_section(painted_folder(tmp_path / "p", share=0.2)))
    assert accuracy(tmp_path, dataset, data) > 0.95


def test_the_manifest_says_what_was_fitted_on(tmp_path):
    section = linear_section(painted_folder(tmp_path / "p"))
    manifest = make_small(tmp_path, {"dataset.segmenter": section})
    assert manifest.meaning.fitted_on["num_pictures"] == 3
    assert [label.name for label in manifest.meaning.labels][1] == "square"


def test_the_same_fit_gives_the_same_bytes_wherever_the_pictures_lie(tmp_path):
    found = []
    for name in "ab":
        section = linear_section(painted_folder(tmp_path / name))
        found.append(fit(tmp_path, section)[1])
        (tmp_path / name / "masks" / "000003.png").rename(tmp_path / name / "000003.mask.png")
    assert found[0] == found[1]


def test_what_is_painted_is_part_of_the_dataset_s_identity_and_its_place_is_not(tmp_path):
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 0)):
        folder = painted_folder(tmp_path / name, seed=seed)
        if name == "c":
            file = folder / "masks" / "000008.png"
            mask = decode_mask(file.read_bytes()).copy()
            mask[0, 0] = IGNORE
            file.write_bytes(encode_mask(mask))
        section = linear_section(folder)
        digests.append(
            digest_named_files(small_job(tmp_path, {"dataset.segmenter": section}).dataset)
        )
    assert digests[0] == digests[1]
    assert set(digests[0]) == {"annotations"}
    assert digests[0] != digests[2]


VARIANTS = {
    "layer weights": {"layer_weights": "softplus"},
    "sigmoid": {"layer_weights": "sigmoid"},
    "focal": {"loss": "focal"},
    "losses of layers": {"layer_loss": 0.1},
    "balanced": {"class_weights": "balanced"},
    "class weights": {"class_weights": {"core": 5.0}},
    "bias": {"bias": True},
    "one layer": {"layers": ["s32"]},
    "the rate": {"learning_rate": 0.02},
    "the schedule": {"lower_after": 2},
    "the epochs": {"epochs": 5},
    "the steps": {"steps_per_epoch": 12},
    "the seed": {"seed": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_each_setting_changes_the_head_and_keeps_it_good(name, tmp_path):
    folder = painted_folder(tmp_path / "p")
    _, plain = fit(tmp_path, linear_section(folder))
    dataset, data = fit(tmp_path, linear_section(folder, **VARIANTS[name]))
    assert data != plain
    assert accuracy(tmp_path, dataset, data) > 0.9


def test_layer_weights_are_folded_into_the_head_s_weights(tmp_path):
    folder = painted_folder(tmp_path / "p")
    section = linear_section(folder, layer_weights="softplus", epochs=1, steps_per_epoch=3)
    tensors, _ = decode_segmenter(fit(tmp_path, section)[1], source="head")
    plain, _ = decode_segmenter(
        fit(tmp_path, {**section, "layer_weights": "none"})[1], source="head"
    )
    ratio = tensors[weight_name("s32")].norm() / plain[weight_name("s32")].norm()
    assert 0.2 < float(ratio) < 0.5, "each of three layers has about a third"


def test_memory_is_no_part_of_a_fit(tmp_path):
    folder = painted_folder(tmp_path / "p")
    _, plain = fit(tmp_path, linear_section(folder))
    stages = []
    _, other = fit(
        tmp_path,
        linear_section(folder, memory_gib=1.0),
        on_progress=lambda stage, *_: stages.append(stage),
    )
    assert plain == other
    assert not set(stages) - {"training"}


def test_feature_maps_that_do_not_fit_are_refused_with_what_they_need(tmp_path):
    section = linear_section(painted_folder(tmp_path / "p"), memory_gib=1e-4)
    with pytest.raises(JobError) as caught:
        fit(tmp_path, section)
    assert str(caught.value) == (
        "dataset.segmenter.memory_gib: feature maps of 3 pictures need 0.000134 GiB, found 0.0001; "
        "raise it, or name fewer layers"
    )


@pytest.mark.slow
@pytest.mark.parametrize("extra", [{}, {"folds": 3, "patience": 3, "layer_weights": "softplus"}])
def test_a_fit_that_was_stopped_goes_on_and_gives_the_same_bytes(extra, tmp_path, monkeypatch):
    monkeypatch.setattr("factory.fit.context._EVERY_S", 0.0)
    folder = painted_folder(tmp_path / "p")
    section = linear_section(folder, **extra)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    _, whole = fit(tmp_path, section)
    stop, told = threading.Event(), []

    def on_progress(stage, num_done, num_total, eta_s):
        told.append(num_done)
        if num_done >= num_total // 2:
            stop.set()

    monkeypatch.setattr("factory.fit.progress._EVERY_S", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(Interrupted):
        fit(tmp_path, section, on_progress=on_progress, stop=stop)
    assert len(list((tmp_path / "cache").rglob("*.partial"))) == 1
    before = max(told)
    told.clear()
    _, resumed = fit(tmp_path, section, on_progress=lambda _, done, *__: told.append(done))
    assert 0 < min(told) <= before, "it does not start anew"
    assert not list((tmp_path / "cache").rglob("*.partial"))
    mine, theirs = (decode_segmenter(data, source="head") for data in (resumed, whole))
    assert mine[1] == theirs[1]
    assert all(torch.equal(mine[0][name], theirs[0][name]) for name in mine[0])


def test_folds_score_the_head_on_pictures_it_has_not_seen_and_end_its_training(tmp_path):
    folder = painted_folder(tmp_path / "p", numbers=range(6))
    section = linear_section(folder, folds=3, epochs=60, patience=3, lower_after=100)
    dataset, data = fit(tmp_path, section)
    figures = decode_segmenter(data, source="head")[1].fitted_on
    assert figures["epochs"] < 57, "the score does not rise for ever"
    assert 0.8 < figures["left_out_iou"] <= 1
    assert accuracy(tmp_path, dataset, data) > 0.95


@pytest.mark.parametrize("folds", [1, 4])
def test_folds_that_leave_nothing_to_learn_from_are_refused(folds, tmp_path):
    section = linear_section(painted_folder(tmp_path / "p"), folds=folds)
    with pytest.raises(JobError) as caught:
        fit(tmp_path, section)
    assert str(caught.value) == (
        f"dataset.segmenter.folds: found {folds}, with 3 painted pictures; allowed: 0, or 2 to 3"
    )


def repaint(folder, change):
    """Change every mask of a folder."""
    for file in (folder / "masks").iterdir():
        file.write_bytes(encode_mask(change(decode_mask(file.read_bytes()).copy())))
    return folder


def without(class_id):
    return lambda mask: np.where(mask == class_id, IGNORE, mask).astype(np.uint8)


def test_a_class_without_pixels_is_told_by_name(tmp_path):
    folder = repaint(painted_folder(tmp_path / "p"), without(3))
    with pytest.raises(JobError) as caught:
        fit(tmp_path, linear_section(folder))
    assert str(caught.value) == (
        "dataset.segmenter.classes: no picture is painted with 'core'; paint it, remove it, or name a "
        "class `other`"
    )


def test_rare_classes_are_trained_as_other_and_never_found(tmp_path):
    folder = painted_folder(tmp_path / "p")
    section = linear_section(folder, other="disc", rare_px=3 * 32 * 32)
    _, data = fit(tmp_path, {**section, "rare_px": 200})
    tensors, facts = decode_segmenter(data, source="head")
    counts = np.bincount(exact_masks(small_job(tmp_path).dataset, NUMBERS).ravel(), minlength=4)
    rare = counts < 200
    rare[2] = False
    assert rare.any()
    assert (tensors["bias"].numpy() < -1e20).tolist() == rare.tolist()
    assert len(facts.labels) == 4, "mask values stay what they are"


def test_one_class_alone_teaches_nothing(tmp_path):
    folder = repaint(painted_folder(tmp_path / "p"), np.zeros_like)
    with pytest.raises(JobError, match="only 'ground' is painted: there is nothing to tell apart"):
        fit(tmp_path, linear_section(folder, other="ground"))


def test_pictures_of_another_generator_are_refused(tmp_path):
    section = linear_section(painted_folder(tmp_path / "p"))
    with pytest.raises(
        JobError, match=r"holds pictures of shapes with images_id .* latents differ"
    ):
        fit(tmp_path, section, **{"dataset.latents.truncation_psi": 0.5})


def test_pictures_serve_a_dataset_of_another_seed_size_and_batch(tmp_path):
    section = linear_section(painted_folder(tmp_path / "p"))
    changes = {"dataset.latents.seed": 9, "dataset.batch_size": 2, "dataset.num_samples": 4}
    dataset, data = fit(tmp_path, section, **changes)
    assert accuracy(tmp_path, dataset, data) > 0.95


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["one"]}, "`classes` must name the classes that are painted, two or more"),
        ({"classes": ["one", "one"]}, "two `classes` are named 'one'"),
        (
            {"classes": ["one", "ignore"]},
            "`classes` holds 'ignore', the name of what is not painted",
        ),
        (
            {"annotations": None},
            "needs `annotations`, a folder of `factory sample`, or an `extractor`",
        ),
        ({"other": "blob"}, "`other` names 'blob'; the classes are ground, square, disc, core"),
        ({"class_weights": {"blob": 2}}, "`class_weights` names 'blob'; the classes are ground"),
        (
            {"extractor": "a.pth"},
            "`extractor` names a fitted extractor; leave out annotations, epochs",
        ),
        (
            {"classes": [{"name": "a", "colour": "#ff0000"}, {"name": "b", "colour": "#FF0000"}]},
            "two `classes` are coloured '#ff0000'",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message, tmp_path):
    with pytest.raises(JobError, match=message):
        small_job(tmp_path, {"dataset.segmenter": linear_section(tmp_path / "p", **settings)})


def test_noise_is_drawn_again_for_a_generator_that_draws_any(tmp_path):
    noise = {"kind": "stylegan2", "weights": "shipped:blood_cells", "noise": "per_sample"}
    dataset = small_job(tmp_path, {"dataset.generator": noise}).dataset
    weights = find_weights(dataset.generator)
    cells = load_generator(dataset.generator, weights.path, device=CPU)
    own, again, other = (
        generate_maps(cells, dataset, 0, [1, 5], ("b32.conv1",), noise_seed=seed)
        for seed in (None, None, 7)
    )
    assert len(own) == 2
    assert torch.equal(own[0][0], again[0][0])
    assert not torch.equal(own[0][0], other[0][0])
    assert torch.corrcoef(torch.stack([own[0][0].flatten(), other[0][0].flatten()]))[0, 1] > 0.5


def test_the_cost_grows_with_epochs_and_folds_and_the_stand_in_has_the_head_s_shape(tmp_path):
    section = linear_section(painted_folder(tmp_path / "p"))
    dataset = small_job(tmp_path, {"dataset.segmenter": section}).dataset
    probe = Probe(dataset, load_generator(dataset.generator, None, device=CPU), CPU, 1)
    with torch.inference_mode():  # as planning computes
        seconds = fit_seconds(probe, 0.01)
    many = {**section, "epochs": 600, "folds": 3}
    dearer = replace(probe, dataset=small_job(tmp_path, {"dataset.segmenter": many}).dataset)
    assert seconds > 0
    assert fit_seconds(dearer, 0.01) > 20 * seconds
    stand_in = load_stand_in(probe)
    names = [label.name for label in stand_in.labels]
    assert names == section["classes"], "a clean-up or a target may name them before the fit"
    assert stand_in.layers == ("s8", "s16", "s32")


def test_a_folder_without_a_manifest_is_told(tmp_path):
    (tmp_path / "p").mkdir()
    with pytest.raises(JobError) as caught:
        fit(tmp_path, linear_section(tmp_path / "p"))
    assert str(caught.value) == (
        f"{tmp_path}/p/pictures.json: cannot be read (No such file or directory); make the folder "
        "with `factory sample`, and paint the pictures in it"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', "[" * 100_000])
def test_a_damaged_manifest_is_told(text, tmp_path):
    pictures_folder(tmp_path / "p")
    (tmp_path / "p" / "pictures.json").write_text(text)
    with pytest.raises(JobError, match=r"pictures\.json: not a list of pictures"):
        fit(tmp_path, linear_section(tmp_path / "p"))


def test_a_manifest_of_a_newer_version_is_told(tmp_path):
    file = pictures_folder(tmp_path / "p") / "pictures.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 2}))
    with pytest.raises(JobError, match="written by a newer maskfactory"):
        fit(tmp_path, linear_section(tmp_path / "p"))
