"""Methods from outside: plugins with settings, a fitter and files of their own."""

import json
import os
import shutil
import subprocess
import sys
from types import ModuleType

import pytest
import torch
import yaml
from painting import KIND, NAMES, paint, painted_section
from plugins import painted
from small_job import Witness, small_document, small_job

from factory.data import IGNORE
from factory.errors import JobError, PluginError, StoreError
from factory.fit.fitted import find_fitted, fit_key
from factory.fit.pixels.sampling import fitting_batch
from factory.generate.base import GeneratorFacts, load_generator
from factory.job import run_job
from factory.segment.base import load_segmenter
from factory.segment.methods import check_methods, find_method, is_fitted, settings_of
from factory.spec import KMeansSpec, Method, MethodSettings, PluginSegmenterSpec

CPU = torch.device("cpu")


@pytest.fixture
def pictures(tmp_path):
    return paint(tmp_path / "painted")


def run(folder, segmenter, **overrides):
    return run_job(small_job(folder, {"dataset.segmenter": segmenter, **overrides}), Witness())


def test_a_plugin_is_fitted_on_its_files_and_makes_almost_exact_masks(tmp_path, pictures):
    manifest = run(tmp_path, painted_section(pictures))
    assert [label.name for label in manifest.meaning.labels] == NAMES
    assert manifest.meaning.fitted_on["num_pictures"] == 3
    spec = small_job(tmp_path, {"dataset.segmenter": painted_section(pictures)}).dataset
    toy = load_generator(spec.generator, None, device=CPU)
    head = load_segmenter(
        spec.segmenter, tmp_path / "out" / "segmenter.safetensors", toy.facts, CPU
    )
    latents = fitting_batch(toy, spec, 77, 0)
    found = head.segment(toy.generate(latents, head.layers))
    assert (found.masks == toy.masks(latents)).float().mean() > 0.97


def test_what_is_done_with_a_fit_needs_no_other_one(tmp_path, pictures):
    plain, strict, other = (
        small_job(tmp_path, {"dataset.segmenter": painted_section(pictures, **settings)}).dataset
        for settings in ({}, {"least_confidence": 0.3}, {"seed": 1})
    )
    assert fit_key(plain, "") == fit_key(strict, "") != fit_key(other, "")
    run(tmp_path, painted_section(pictures))
    assert find_fitted(strict, "") is not None
    toy = load_generator(plain.generator, None, device=CPU)
    for dataset, is_sure in ((plain, True), (strict, False)):
        fitted = tmp_path / "out" / "segmenter.safetensors"
        head = load_segmenter(dataset.segmenter, fitted, toy.facts, CPU)
        found = head.segment(toy.generate(fitting_batch(toy, plain, 7, 0), head.layers))
        assert bool((found.masks < IGNORE).all()) == is_sure


def test_a_plugin_can_be_a_teacher_and_its_files_count_for_the_head(tmp_path, pictures):
    segmenter = {
        "kind": "distil",
        "teacher": painted_section(pictures),
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
    for settings in ({"layer": "auto"}, {"kind": "x"}, {"clean": {}}, {"head": "a"}):
        segmenter = {"kind": "distil", "teacher": painted_section(pictures, **settings)}
        spec = small_job(tmp_path, {"dataset.segmenter": segmenter}).dataset.segmenter
        told.append(refusal(lambda spec=spec: check_methods(spec), JobError).splitlines()[-1])
    assert told == [
        "  dataset.segmenter.teacher.settings.layer: unknown key; did you mean 'layers'?",
        "  dataset.segmenter.teacher.settings.kind: unknown key; known here: head, layers, "
        "least_confidence, names, pictures, seed",
        "dataset.segmenter.teacher.settings.clean: found in the plugin's own settings; write it into "
        "dataset.segmenter.teacher, beside `kind`",
        "dataset.segmenter.teacher.settings: `head` names a fitted file; leave out names, pictures",
    ]
    segmenter = {"kind": "distil", "teacher": {"kind": KIND, "settings": {"head": "a"}}}
    spec = small_job(tmp_path, {"dataset.segmenter": segmenter}).dataset.segmenter
    assert refusal(lambda: check_methods(spec), JobError) == (
        "dataset.segmenter.teacher: a teacher is fitted with its head: leave out `head`"
    )


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_plugin_offered_by_another_distribution_has_a_short_name(folder):
    info = folder / "painted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: painted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[factory.segmenters]\npainted = painted:METHOD\n")
    write_job(folder, {"pictures": "painted", "names": NAMES}, kind="painted")
    fitted = factory(folder, "fit")
    assert (fitted.returncode, fitted.stdout) == (0, "fitted painted\n"), fitted.stderr
    again = factory(folder, "fit")
    assert again.stdout == "painted was fitted before: taken from the cache\n"
    source = folder / "painted.py"
    source.write_text(source.read_text() + "# another way to fit, for all we know\n")
    assert factory(folder, "fit").stdout == "fitted painted\n"


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


def test_a_plugin_s_settings_class_that_names_its_kind_is_told_to_leave_it_out(module):
    module.Settings = KMeansSpec
    spec = PluginSegmenterSpec(kind="a_method:METHOD")
    assert refusal(lambda: settings_of(spec)) == (
        "segmenter 'a_method:METHOD': a_method:Settings says what its `kind` is; leave `kind` out of "
        "the class: a plugin has the name that a job gives it"
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
    module.METHOD = Method(
        segmenter="factory.segment.linear_head:LinearHead", fitter="a_method:fit"
    )
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
