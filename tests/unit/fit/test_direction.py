"""Directions that are searched for on the toy, or taken from the authors' files."""

import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from contract.test_generators import build, draw
from families import CASES, save_weights
from foreground_scores import foreground_ious
from PIL import Image
from small_job import Witness, make_small, small_job

import factory
from factory.care.verify import verify_dataset
from factory.dataset.reader import open_dataset
from factory.errors import Interrupted, JobError
from factory.fit.direction.fit import COST, CURVE_PREFIX
from factory.fit.direction.report import draw_report
from factory.fit.fitted import fit_key, fit_segmenter
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights, find_weights
from factory.job import run_job
from factory.manifest.paths import SEGMENTER_PATH
from factory.run.calibrate import calibrate
from factory.run.fitting import must_distribute
from factory.segment.base import generate_and_segment, load_segmenter
from factory.segment.direction.segmenter import MARGINS_NAME, find_directions, find_doubts
from factory.segment.segmenter_file import decode_segmenter, encode_segmenter
from factory.spec import GeneratorSpec
from factory.spec.direction import DirectionSpec

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
FILES = Path(__file__).parents[2] / "golden" / "direction"
SHORT = {"kind": "direction", "steps": 60, "images_per_step": 8, "learning_rate": 0.02}
NO_WEIGHTS = LocalWeights(None, "")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fit(folder, section=SHORT, *, on_progress=lambda *_: None, stop=None, **overrides):
    dataset = small_job(folder, {"dataset.segmenter": section, **overrides}).dataset
    weights = find_weights(dataset.generator) if dataset.generator.weights else NO_WEIGHTS
    data = fit_segmenter(dataset, weights, device=CPU, on_progress=on_progress, stop=stop)
    return dataset, data


def test_a_search_on_the_toy_finds_its_foreground(tmp_path):
    dataset, data = fit(tmp_path)
    tensors, facts = decode_segmenter(data, source="fit")
    space, found = find_directions(tensors, "fit")
    assert space == "z"
    assert facts.layers == []
    assert [label.name for label in facts.labels] == ["background", "foreground"]
    assert facts.fitted_on["num_images"] == 480
    for sign in ("light", "dark"):
        assert float(found[sign].norm()) == pytest.approx(1, abs=1e-6)
        curve = tensors[f"{CURVE_PREFIX}{sign}"]
        assert curve.shape == (60, 5)
        assert facts.fitted_on[f"{sign}_loss"] == pytest.approx(
            float(curve[-1, :2].sum()), abs=1e-5
        )
        assert curve[-6:, :2].sum() < curve[:6, :2].sum()
    assert (tensors[MARGINS_NAME].diff() > 0).all(), "a longer shift changes more"
    path = tmp_path / "segmenter"
    path.write_bytes(data)
    toy = build("shapes")
    segmenter = load_segmenter(dataset.segmenter, path, toy.facts, CPU)
    _, masks = generate_and_segment(toy, segmenter, draw(toy, range(12)))
    truth = toy.masks(draw(toy, range(12))).numpy() > 0
    assert foreground_ious(masks.masks.numpy() == 1, truth).mean() > 0.9
    assert 0.3 < float(masks.confidence.mean()) < 0.7, "0.5 is typical"


def test_the_same_seed_gives_the_same_file_and_another_one_another(tmp_path):
    brief = SHORT | {"steps": 10}
    _, first = fit(tmp_path / "a", brief)
    _, second = fit(tmp_path / "b", brief)
    _, other = fit(tmp_path / "c", brief | {"seed": 1})
    assert first == second
    assert first != other


def test_one_direction_alone_is_the_one_that_it_is_beside_the_other(tmp_path):
    brief = SHORT | {"steps": 10}
    _, both = fit(tmp_path / "a", brief)
    _, light = fit(tmp_path / "b", brief | {"masks": "light"})
    ours, theirs = (decode_segmenter(data, source="x")[0] for data in (light, both))
    assert torch.equal(ours["direction/light/z"], theirs["direction/light/z"])
    assert "direction/dark/z" not in ours


def test_settings_of_the_masks_need_no_other_search(tmp_path):
    plain = small_job(tmp_path, {"dataset.segmenter": SHORT}).dataset
    after = {"epsilon": 3.0, "foreground_share": [0.1, 0.7], "min_part": 0.5, "two_modes": "off"}
    tuned = small_job(tmp_path, {"dataset.segmenter": SHORT | after}).dataset
    longer = small_job(tmp_path, {"dataset.segmenter": SHORT | {"steps": 61}}).dataset
    assert fit_key(plain, "") == fit_key(tuned, "")
    assert fit_key(plain, "") != fit_key(longer, "")


def test_a_search_that_was_stopped_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("factory.fit.context._EVERY_S", 0.0)
    monkeypatch.setattr("factory.fit.progress._EVERY_S", 0.0)
    brief = SHORT | {"steps": 20}
    _, whole = fit(tmp_path, brief)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    stop, told = threading.Event(), []

    def on_progress(stage, done, total, left):
        told.append((stage, done, total, left))
        if done == 9:
            stop.set()

    with pytest.raises(Interrupted):
        fit(tmp_path, brief, on_progress=on_progress, stop=stop)
    assert told[0] == ("searching", 0, 20, None)
    assert told[-1][3] > 0, "the time that is left"
    assert len(list((tmp_path / "elsewhere").rglob("*.partial"))) == 1
    told.clear()
    stop.clear()
    _, resumed = fit(tmp_path, brief, on_progress=lambda *now: told.append(now))
    assert told[0][1] == 10, "no step is lost"
    assert resumed == whole
    assert not list((tmp_path / "elsewhere").rglob("*.partial"))


def test_a_search_is_made_in_one_process_because_each_step_needs_the_one_before(tmp_path):
    run = {"run.executor": "ray", "run.address": "auto", "run.num_actors": 4}
    spec = small_job(tmp_path, {"dataset.segmenter": {"kind": "direction"}, **run})
    assert not must_distribute(spec)
    assert COST.shared_work(spec.dataset.segmenter) == 0


def test_a_whole_job_of_masks_by_direction_is_made_and_says_what_was_rejected(tmp_path):
    section = SHORT | {"steps": 20, "two_modes": "off"}
    manifest = make_small(tmp_path, {"dataset.segmenter": section, "dataset.oversample": 4.0})
    assert manifest.num_samples == 13
    reasons = {reason for record in manifest.records for reason in record.num_rejected}
    assert reasons <= {"foreground_too_small", "foreground_too_large"}


class GoneError(Exception):
    """The driver is gone."""


class Leaver(Witness):
    """An observer that ends the run when so many shards are committed."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def committed(self, record):
        super().committed(record)
        if len(self.records) == self.after:
            raise GoneError


def test_targets_are_met_and_an_ended_run_goes_on_to_the_same_shards(tmp_path):
    target = {"min_samples": {"foreground": {"count": 16, "min_area": 0.05}}, "budget": 150}
    section = SHORT | {"steps": 20, "two_modes": "off", "foreground_share": [0.01, 1.0]}

    def job(place):
        settings = {"dataset.segmenter": section, "dataset.coverage": target}
        return small_job(tmp_path / place, settings)

    once = run_job(job("once"), Witness())
    assert len(once.records) > 3, "rounds were planned for the target"
    for after in (1, len(once.records) - 1):
        with pytest.raises(GoneError):
            run_job(job("ended"), Leaver(after if after == 1 else after - 1))
    ended = run_job(job("ended"), Witness())
    assert [record.sha256 for record in ended.records] == [r.sha256 for r in once.records]
    assert verify_dataset(tmp_path / "ended" / "out", regenerate=9).problems == ()


def test_a_head_can_learn_from_it(tmp_path):
    teacher = SHORT | {"steps": 30, "two_modes": "off", "foreground_share": [0.01, 1.0]}
    section = {"kind": "distil", "teacher": teacher, "samples": 16, "min_agreement": 0}
    dataset, data = fit(tmp_path, section)
    assert decode_segmenter(data, source="x")[1].labels[1].name == "foreground"
    assert dataset.segmenter.teacher.kind == "direction"


def test_a_plan_foresees_the_time_of_the_search(tmp_path):
    brief = small_job(tmp_path, {"dataset.segmenter": SHORT})
    long = small_job(tmp_path, {"dataset.segmenter": SHORT | {"steps": 60_000}})
    with torch.inference_mode():
        first, second = calibrate(brief), calibrate(long)
    assert first["pairs_per_s"] > 0
    assert second["fit_s"] > 50 * first["fit_s"] > 0


def test_a_plan_after_the_fit_tells_what_an_accepted_pair_costs(tmp_path):
    section = SHORT | {"steps": 30}
    job = small_job(tmp_path, {"dataset.segmenter": section})
    fit(tmp_path, section)
    found = calibrate(job)
    assert found["passes_per_pair"] == 4
    assert 0 < found["accepted_share"] < 1
    assert set(found["rejected"]) <= {"one_mode", "foreground_too_large", "foreground_too_small"}
    one = calibrate(small_job(tmp_path, {"dataset.segmenter": section | {"masks": "light"}}))
    assert (one["passes_per_pair"], one["accepted_share"]) == (3, None), "it is not fitted yet"


def test_a_report_shows_samples_along_the_directions_and_the_loss(tmp_path):
    dataset, data = fit(tmp_path, SHORT | {"steps": 10})
    files = draw_report(dataset, dataset.segmenter, NO_WEIGHTS, data, CPU)
    assert list(files) == ["report.png"]
    searched = np.asarray(Image.open(io.BytesIO(files["report.png"])))
    tensors, facts = decode_segmenter(data, source="x")
    kept = {name: one for name, one in tensors.items() if not name.startswith(CURVE_PREFIX)}
    given = draw_report(dataset, dataset.segmenter, NO_WEIGHTS, encode_segmenter(kept, facts), CPU)
    imported = np.asarray(Image.open(io.BytesIO(given["report.png"])))
    assert len(imported) < len(searched), "without a curve"
    assert np.array_equal(imported, searched[: len(imported)])
    light_only = dataset.segmenter.model_copy(update={"masks": "light"})
    narrow = draw_report(dataset, light_only, NO_WEIGHTS, data, CPU)
    assert np.asarray(Image.open(io.BytesIO(narrow["report.png"]))).shape[1] < searched.shape[1]


@pytest.mark.parametrize("masks", ["light", "dark"])
def test_a_direction_of_the_authors_moves_the_latent_that_it_was_found_in(tmp_path, masks):
    weights = save_weights(tmp_path, "dcgan_64")
    width = json.loads(json.dumps(build_facts(weights)))["z"]
    direction = torch.zeros(1, *width)
    direction[0, 3] = 2.0
    sign = 1.0 if masks == "light" else -1.0
    cfg = {"losses": {"outside_circle_loss": 2.0 * sign}}
    torch.save({"state_dict": {"d": direction}, "cfg": cfg}, tmp_path / "latest.pth")
    section = {"kind": "direction", "masks": masks, masks: str(tmp_path / "latest.pth")}
    generator = {"kind": "dcgan", "weights": str(weights)}
    _, data = fit(tmp_path, section, **{"dataset.generator": generator})
    tensors, facts = decode_segmenter(data, source="x")
    space, found = find_directions(tensors, "x")
    assert space == "z"
    assert found[masks].argmax() == 3
    assert float(found[masks].norm()) == 1
    assert facts.fitted_on["stored_length"] == 2


def build_facts(weights):
    generator = load_generator(GeneratorSpec(kind="dcgan"), weights, device=CPU)
    return {name: list(shape) for name, shape in generator.facts.spaces.items()}


def test_a_direction_in_w_plus_has_the_length_of_all_its_rows(tmp_path):
    cells = {"kind": "stylegan2", "weights": "shipped:blood_cells"}
    rows, width = build("stylegan2").facts.spaces["w_plus"]
    stored = torch.randn(1, rows, width)
    stored /= stored.norm(dim=1, keepdim=True)  # over the rows, as the authors' program does it
    torch.save({"state_dict": {"d": stored}}, tmp_path / "latest.pth")
    section = {"kind": "direction", "masks": "dark", "dark": str(tmp_path / "latest.pth")}
    dataset, data = fit(tmp_path, section, **{"dataset.generator": cells})
    tensors, facts = decode_segmenter(data, source="x")
    space, found = find_directions(tensors, "x")
    assert space == "w_plus"
    assert float(found["dark"].norm()) == pytest.approx(1, abs=1e-5)
    assert facts.fitted_on["stored_length"] == pytest.approx(width**0.5, rel=1e-3)
    assert len(find_doubts(data, dataset.segmenter)) == 1


@pytest.mark.parametrize("case", ["biggan_aj_64", "pggan_genforce_64", "stylegan1_genforce_64"])
def test_any_family_can_be_searched_with_classes_and_without(tmp_path, case):
    weights = save_weights(tmp_path, case)
    generator = {"kind": CASES[case].kind, "weights": str(weights)}
    section = {"kind": "direction", "steps": 10, "images_per_step": 3, "radius": 4.0}
    dataset, data = fit(tmp_path, section, **{"dataset.generator": generator})
    tensors, _ = decode_segmenter(data, source="x")
    built = load_generator(dataset.generator, weights, device=CPU)
    space, found = find_directions(tensors, "x")
    assert space == next(iter(built.facts.spaces))
    assert all(one.isfinite().all() for one in found.values())
    assert (tensors[f"{CURVE_PREFIX}light"][:, 3] > 0).all(), "every step changed the images"


PARITY = Path(__file__).parents[2] / "golden" / "parity"
WITH_CLASSES = {
    "biggan": (lambda folder: ("biggan_aj_64", save_weights(folder, "biggan_aj_64")), "z"),
    "w": (lambda _: ("stylegan2", PARITY / "sg2ada_c32_psi07.safetensors"), "w"),
    "w_plus": (lambda _: ("stylegan2", PARITY / "sg2ada_c32_psi07.safetensors"), "w_plus"),
}


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_a_search_with_classes_is_repeatable_and_its_file_makes_a_dataset(tmp_path, name):
    make, space = WITH_CLASSES[name]
    case, weights = make(tmp_path)
    kind = CASES[case].kind if case in CASES else case
    overrides = {"dataset.generator": {"kind": kind, "weights": str(weights)}}
    overrides["dataset.num_samples"] = 4
    kept = {"two_modes": "off", "foreground_share": [0.0, 1.0], "space": space}
    section = {"kind": "direction", "steps": 10, "images_per_step": 2, **kept}
    # Images of random weights are soon of one colour, if the search gets anywhere.
    section |= {"radius": 4.0 if name == "biggan" else 1.0, "learning_rate": 1e-4}
    manifest = make_small(tmp_path, {"dataset.segmenter": section, **overrides})
    assert manifest.num_samples == 4
    out = tmp_path / "out"
    assert len({sample.facts.class_label for sample in open_dataset(out)}) > 1
    data = (out / SEGMENTER_PATH).read_bytes()
    assert find_directions(decode_segmenter(data, source="x")[0], "x")[0] == space
    assert fit(tmp_path / "again", section, **overrides)[1] == data
    report = factory.verify_dataset(out, deep=True, regenerate=1, trust_plugins=True)
    assert (report.problems, report.num_regenerated) == ((), 1)


def test_a_dark_direction_in_the_light_one_s_place_is_told(tmp_path):
    section = {"kind": "direction", "masks": "light"}
    section["light"] = str(FILES / "melas_direction_dark.pth")
    with pytest.raises(JobError, match="is the dark direction; give it as `dark`"):
        fit(tmp_path, section)


def test_a_direction_of_another_generator_is_refused_with_both_shapes(tmp_path):
    section = {"kind": "direction", "masks": "light"}
    section["light"] = str(FILES / "melas_direction_light.pth")
    with pytest.raises(
        JobError, match=r"has shape \(120,\), this generator's latents have z \(16,\)"
    ):
        fit(tmp_path, section)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"light": "a.pth"}, "needs dark and light, found light"),
        ({"masks": "dark", "light": "a.pth"}, "`masks: dark` needs dark, found light"),
        ({"masks": "light", "light": "a.pth", "steps": 20}, "leave out steps"),
        ({"foreground_share": [0.5, 0.2]}, "the first share is the minimum"),
        ({"masks": "light", "min_overlap": 0.5}, "it needs `masks: both`"),
    ],
)
def test_settings_that_contradict_each_other_are_told(settings, words):
    with pytest.raises(ValueError, match=words):
        DirectionSpec(**settings)


def test_a_space_that_the_generator_does_not_have_is_told(tmp_path):
    with pytest.raises(JobError, match=r"segmenter\.space: found 'w'"):
        fit(tmp_path, SHORT | {"space": "w"})
