"""The table of methods, and methods from outside: a plugin with settings, a fitter and files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from plugins import painted
from small_job import Witness, small_document, small_job

from factory.data import IGNORE
from factory.errors import JobError, PluginError, StoreError
from factory.fit.fitted import find_fitted, fit_key
from factory.fit.pixels.sampling import fitting_batch
from factory.generate.base import GeneratorFacts, load_generator
from factory.job import run_job
from factory.pack.image import encode_mask
from factory.run.calibrate import calibrate
from factory.run.fitting import must_distribute
from factory.segment.base import load_segmenter
from factory.segment.methods import check_methods, find_method, import_part, is_fitted, settings_of
from factory.spec import (
    METHODS,
    DatasetSpec,
    KMeansSpec,
    Method,
    MethodSettings,
    PluginSegmenterSpec,
)
from factory.spec.segmenters import settings_class

CPU = torch.device("cpu")
NAMES = ["ground", "square", "disc", "core"]
KIND = "plugins.painted:METHOD"


def paint(folder: Path, count: int = 3) -> Path:
    """A person's work: some pixels of each part of `count` fitting images of the toy."""
    dataset = small_job(folder).dataset
    toy = load_generator(dataset.generator, None, device=CPU)
    folder.mkdir(exist_ok=True)
    for index in range(count):
        batch_index, position = divmod(index, dataset.batch_size)
        truth = toy.masks(fitting_batch(toy, dataset, 0, batch_index))[position].numpy()
        kept = np.random.default_rng(index).random(truth.shape) < 0.2
        pixels = np.where(kept, truth, IGNORE).astype(np.uint8)
        (folder / f"{index}.png").write_bytes(encode_mask(pixels))
    return folder


def section(pictures: Path, **settings):
    """A section of a job with the plugin."""
    return {"kind": KIND, "settings": {"pictures": str(pictures), "names": NAMES, **settings}}


@pytest.fixture
def pictures(tmp_path):
    return paint(tmp_path / "painted")


def run(folder, segmenter, **overrides):
    return run_job(small_job(folder, {"dataset.segmenter": segmenter, **overrides}), Witness())


# the table


@pytest.mark.parametrize("kind", METHODS)
def test_every_target_of_the_table_is_there_and_its_settings_are_those_it_names(kind):
    method = METHODS[kind]
    targets = [method.settings, method.segmenter, method.fitter, method.cost, method.finish]
    assert all(import_part(kind, target) for target in targets if target)
    own = settings_class(kind)
    assert issubclass(own, MethodSettings)
    assert method.named_settings() <= own.model_fields.keys()
    assert own.model_fields["kind"].default == kind
    assert set(method.needs) <= set(GeneratorFacts.__dataclass_fields__)


def test_settings_know_their_kind_and_keep_it_when_only_what_was_set_is_written():
    spec = KMeansSpec(num_clusters=4)
    assert spec == KMeansSpec(kind="kmeans", num_clusters=4)
    assert spec.model_dump(exclude_unset=True) == {"kind": "kmeans", "num_clusters": 4}
    dataset = {"num_samples": 1, "generator": {"kind": "shapes"}}
    whole = DatasetSpec.model_validate({**dataset, "segmenter": spec})
    again = DatasetSpec.model_validate_json(whole.model_dump_json(exclude_unset=True))
    assert again == whole
    assert again.segmenter == spec


def test_a_job_file_must_name_the_kind(tmp_path):
    with pytest.raises(JobError, match=r"dataset\.segmenter\.kind: missing, and required"):
        small_job(tmp_path, {"dataset.segmenter": {"num_clusters": 4}})


def test_a_teacher_that_is_no_teacher_is_told_which_kinds_are(tmp_path):
    teacher = {"kind": "distil", "teacher": {"kind": "kmeans"}}
    with pytest.raises(JobError) as caught:
        small_job(tmp_path, {"dataset.segmenter": {"kind": "distil", "teacher": teacher}})
    assert str(caught.value).splitlines()[1] == (
        "  dataset.segmenter.teacher.kind: input should be one of kmeans, klish, style_mixing, "
        "module:attribute (got 'distil')"
    )


def test_no_method_of_ours_is_named_outside_its_own_files_and_the_table():
    root = Path(__file__).parents[3]
    named = {
        path.relative_to(root).as_posix()
        for path in (root / "factory").rglob("*.py")
        for kind in METHODS
        if f'"{kind}"' in path.read_text(encoding="utf-8")
    }
    own = {settings_class(kind).__module__.replace(".", "/") + ".py" for kind in METHODS}
    assert named == {"factory/spec/methods.py", *own}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"after_fit": ("x",)}, "a method without a fitter has no use for after_fit"),
        ({"cost": "a:b"}, "a method without a fitter has no use for cost"),
        ({"fitter": "a:b", "has_tree": True}, "needs a setting for a fitted_file"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Method(segmenter="a:b", **fields)


# a plugin with all of it


def test_a_plugin_is_fitted_on_its_files_and_makes_almost_exact_masks(tmp_path, pictures):
    manifest = run(tmp_path, section(pictures))
    assert [label.name for label in manifest.meaning.labels] == NAMES
    assert manifest.meaning.fitted_on["num_pictures"] == 3
    spec = small_job(tmp_path, {"dataset.segmenter": section(pictures)}).dataset
    toy = load_generator(spec.generator, None, device=CPU)
    head = load_segmenter(
        spec.segmenter, tmp_path / "out" / "segmenter.safetensors", toy.facts, CPU
    )
    latents = fitting_batch(toy, spec, 77, 0)
    found = head.segment(toy.generate(latents, head.layers))
    assert (found.masks == toy.masks(latents)).float().mean() > 0.97


def test_what_is_done_with_a_fit_needs_no_other_one(tmp_path, pictures):
    plain, strict, other = (
        small_job(tmp_path, {"dataset.segmenter": section(pictures, **settings)}).dataset
        for settings in ({}, {"least_confidence": 0.3}, {"seed": 1})
    )
    assert fit_key(plain, "") == fit_key(strict, "") != fit_key(other, "")
    run(tmp_path, section(pictures))
    assert find_fitted(strict, "") is not None
    toy = load_generator(plain.generator, None, device=CPU)
    for dataset, is_sure in ((plain, True), (strict, False)):
        fitted = tmp_path / "out" / "segmenter.safetensors"
        head = load_segmenter(dataset.segmenter, fitted, toy.facts, CPU)
        found = head.segment(toy.generate(fitting_batch(toy, plain, 7, 0), head.layers))
        assert bool((found.masks < IGNORE).all()) == is_sure


def test_a_painted_pixel_more_is_another_fit_and_another_dataset(tmp_path, pictures):
    segmenter = section(pictures)
    dataset = small_job(tmp_path, {"dataset.segmenter": segmenter}).dataset
    before = fit_key(dataset, "")
    run(tmp_path, segmenter)
    (pictures / "3.png").write_bytes((pictures / "0.png").read_bytes())
    assert fit_key(dataset, "") != before
    with pytest.raises(StoreError, match=r"segmenter\.files\.settings\.pictures: '\w{64}' there"):
        run(tmp_path, segmenter)


def test_where_the_pictures_lie_decides_nothing_and_a_dataset_goes_on_without_them(
    tmp_path, pictures
):
    first = run(tmp_path, section(pictures))
    moved = tmp_path / "elsewhere"
    pictures.rename(moved)
    again = run(tmp_path, section(moved), **{"dataset.num_samples": 17})
    assert again.dataset_id == first.dataset_id
    shutil.rmtree(moved)
    grown = run(tmp_path, section(moved), **{"dataset.num_samples": 23})
    assert (grown.dataset_id, grown.num_samples) == (first.dataset_id, 23)


def test_pictures_that_are_missing_are_told_before_anything_is_made(tmp_path):
    with pytest.raises(JobError) as caught:
        run(tmp_path, section(tmp_path / "none"))
    assert str(caught.value) == (
        f"dataset.segmenter.settings.pictures: {tmp_path}/none cannot be read (No such file or "
        "directory); the segmenter is fitted on it: check the path, which is relative to the folder "
        "the command runs in"
    )
    assert not (tmp_path / "out").exists()


def test_a_fitted_file_takes_the_place_of_the_fit_wherever_it_lies(tmp_path, pictures):
    made = run(tmp_path / "fitted", section(pictures))
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes((tmp_path / "fitted" / "out" / "segmenter.safetensors").read_bytes())
    shutil.rmtree(pictures)
    named = {"kind": KIND, "settings": {"head": str(first)}}
    taken = run(tmp_path, named)
    assert taken.meaning.labels == made.meaning.labels
    first.rename(second)
    named["settings"]["head"] = str(second)
    assert run(tmp_path, named, **{"dataset.num_samples": 17}).dataset_id == taken.dataset_id
    named["settings"]["names"] = NAMES
    with pytest.raises(JobError) as caught:
        run(tmp_path, named)
    assert str(caught.value) == (
        "dataset.segmenter.settings: `head` names a file that is fitted already; leave out names"
    )


def test_a_fit_that_needs_the_generator_is_never_spread_over_workers(tmp_path, pictures):
    run_spec = {"executor": "ray", "address": "auto", "num_actors": 8}
    big = {"kind": "kmeans", "num_clusters": 200, "fit": {"num_images": 2000, "memory_gib": 64}}
    jobs = [
        small_job(tmp_path, {"dataset.segmenter": segmenter, "run": run_spec})
        for segmenter in (section(pictures), big)
    ]
    assert [must_distribute(job) for job in jobs] == [False, True]


def test_a_plugin_can_be_a_teacher_and_its_files_count_for_the_head(tmp_path, pictures):
    segmenter = {
        "kind": "distil",
        "teacher": section(pictures),
        "samples": 24,
        "min_agreement": 0.6,
    }
    manifest = run(tmp_path, segmenter)
    assert [label.name for label in manifest.meaning.labels] == NAMES
    (pictures / "3.png").write_bytes((pictures / "0.png").read_bytes())
    with pytest.raises(StoreError, match=r"segmenter\.files\.teacher\.settings\.pictures"):
        run(tmp_path, segmenter)


def test_a_teacher_s_own_mistakes_are_told_under_the_teacher(tmp_path, pictures):
    told = []
    for settings in ({"layer": "auto"}, {"kind": "x"}, {"head": "a"}):
        segmenter = {"kind": "distil", "teacher": section(pictures, **settings)}
        spec = small_job(tmp_path, {"dataset.segmenter": segmenter}).dataset.segmenter
        told.append(refusal(lambda spec=spec: check_methods(spec), JobError).splitlines()[-1])
    assert told == [
        "  dataset.segmenter.teacher.settings.layer: unknown key; did you mean 'layers'?",
        "  dataset.segmenter.teacher.settings.kind: unknown key; known here: head, layers, "
        "least_confidence, names, pictures, seed",
        "dataset.segmenter.teacher.settings: `head` names a file that is fitted already; leave out "
        "names, pictures",
    ]
    segmenter = {"kind": "distil", "teacher": {"kind": KIND, "settings": {"head": "a"}}}
    spec = small_job(tmp_path, {"dataset.segmenter": segmenter}).dataset.segmenter
    assert refusal(lambda: check_methods(spec), JobError) == (
        "dataset.segmenter.teacher: a teacher is fitted with its head: leave out `head`"
    )


def test_a_plan_says_what_it_does_not_know_of_a_method_without_a_cost(tmp_path, pictures):
    with torch.inference_mode():
        told = calibrate(small_job(tmp_path, {"dataset.segmenter": section(pictures, seed=5)}))
    assert told["fit_s"] is None
    assert told["pairs_per_s"] > 0


# a plugin of one's own folder, from the command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as a person has it: the module, painted pictures, and a job that names both."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(painted.__file__, folder)
    paint(folder / "painted")
    write_job(folder, {"pictures": "painted", "names": NAMES})
    return folder


def write_job(folder, settings, kind="painted:METHOD", output="out"):
    segmenter = {"kind": kind, "settings": settings}
    document = small_document(folder, {"dataset.segmenter": segmenter, "output.uri": output})
    (folder / "job.yaml").write_text(yaml.safe_dump(document))


def factory(folder, *words):
    """The command line in that folder, with a cache of its own."""
    env = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "factory", *words, "job.yaml"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_a_plugin_with_a_fitter_is_planned_fitted_and_run_by_the_command_line(folder):
    planned = factory(folder, "plan", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert plan["warnings"] == [
        "time left is without the fit: segmenter 'painted:METHOD' does not say what its fit takes"
    ]
    assert min(plan["pairs_per_s"], plan["bytes_in_all"]) > 0
    fitted = factory(folder, "fit")
    assert (fitted.returncode, fitted.stdout) == (0, "fitted painted:METHOD\n"), fitted.stderr
    made = factory(folder, "run")
    assert made.returncode == 0, made.stderr
    assert "fit_started" not in made.stderr, "what `fit` found is used"
    labels = json.loads((folder / "out" / "labels.json").read_text())
    assert [label["name"] for label in labels["labels"]] == NAMES
    identity = json.loads((folder / "out" / "plan" / "round-0000.json").read_text())["identity"]
    assert identity["segmenter"]["settings"] == {"names": NAMES}
    assert list(identity["segmenter"]["files"]) == ["settings.pictures"]


@pytest.mark.parametrize("command", ["plan", "fit", "run"])
def test_a_misspelt_key_of_a_plugin_is_told_like_one_of_ours(folder, command):
    settings = {"pictures": "painted", "names": ["a"], "least_confidense": 0.1}
    write_job(folder, settings, output="misspelt")
    told = factory(folder, command)
    assert told.returncode == 2
    assert told.stderr.splitlines() == [
        "error: segmenter 'painted:METHOD': 2 problems",
        "  dataset.segmenter.settings.names: list should have at least 2 items after validation, not 1 "
        "(got ['a'])",
        "  dataset.segmenter.settings.least_confidense: unknown key; did you mean 'least_confidence'?",
    ]


def test_a_plugin_offered_by_another_distribution_has_a_short_name(folder):
    info = folder / "painted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: painted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[factory.segmenters]\npainted = painted:METHOD\n")
    write_job(folder, {"pictures": "painted", "names": NAMES}, kind="painted")
    fitted = factory(folder, "fit")
    assert (fitted.returncode, fitted.stdout) == (0, "fitted painted\n"), fitted.stderr
    again = factory(folder, "fit")
    assert again.stdout == "painted was fitted before; nothing to do\n"
    source = folder / "painted.py"
    source.write_text(source.read_text() + "# another way to fit, for all we know\n")
    assert factory(folder, "fit").stdout == "fitted painted\n"


# mistakes of whoever writes a plugin


@pytest.fixture
def module(monkeypatch):
    """A module that can be named in a job, to be filled."""
    made = ModuleType("a_method")
    made.__file__ = __file__
    monkeypatch.setitem(sys.modules, "a_method", made)
    made.METHOD = Method(segmenter="a_method:Segmenter", settings="a_method:Settings")
    return made


def refusal(call, error=PluginError):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_settings_of_another_kind_are_refused(module):
    module.Settings = dict
    spec = PluginSegmenterSpec(kind="a_method:METHOD")
    assert refusal(lambda: settings_of(spec)) == (
        "segmenter 'a_method:METHOD': a_method:Settings is no settings class; derive it from "
        "factory.spec.MethodSettings"
    )


def test_an_entry_that_names_a_setting_which_is_not_there_is_refused(module):
    module.Settings = type("Settings", (MethodSettings,), {"__module__": __name__})
    module.METHOD = Method(
        segmenter="a:b", settings="a_method:Settings", fitter="a:b", files=("pictures",)
    )
    spec = PluginSegmenterSpec(kind="a_method:METHOD")
    assert refusal(lambda: settings_of(spec)) == (
        "segmenter 'a_method:METHOD': its entry names the setting 'pictures', and a_method:Settings "
        "has only kind"
    )


def test_a_fitter_that_cannot_be_imported_is_told_with_its_target(tmp_path, module):
    module.METHOD = Method(segmenter="json:loads", fitter="a_method:fit")
    assert "segmenter 'a_method:METHOD': cannot import 'a_method:fit'" in refusal(
        lambda: run(tmp_path, {"kind": "a_method:METHOD"})
    )
    assert not (tmp_path / "out").exists()


def test_a_plugin_without_settings_is_given_the_section_and_is_not_fitted():
    spec = PluginSegmenterSpec(kind="plugins.mixing_plugins:Parts", settings={"x": 1})
    assert settings_of(spec) is spec
    assert not is_fitted(spec)
    assert find_method(spec.kind) == Method(segmenter="plugins.mixing_plugins:Parts")


def test_a_generator_that_lacks_what_a_plugin_needs_is_told_which_methods_it_suits():
    facts = GeneratorFacts(8, 0, (), {})
    spec = PluginSegmenterSpec(kind=KIND, settings={"names": NAMES})
    assert refusal(lambda: load_segmenter(spec, None, facts, CPU), JobError) == (
        f"dataset.segmenter.kind: found '{KIND}', but this generator has no feature maps; methods that "
        "work on it: none of ours"
    )
