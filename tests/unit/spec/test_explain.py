"""`factory explain`: every setting of a job is told, with what it may be."""

import json

import pytest
from typer.testing import CliRunner

from factory.cli.app import app
from factory.errors import JobError
from factory.spec import JobSpec
from factory.spec.explain import explain
from factory.spec.generators import FAMILY_SETTINGS
from factory.spec.methods import METHODS
from factory.spec.read import load_job
from factory.spec.segmenters import settings_class


def test_every_setting_of_every_section_is_told():
    pending, seen = [""], set()
    while pending:
        path = pending.pop()
        found = explain(path)
        for setting in found.settings:
            inner = ".".join(filter(None, [path, setting.name]))
            seen.add(inner)
            assert setting.values, inner
            assert setting.text, inner
            if setting.has_more:
                pending.append(inner)
    assert {"name", "dataset.latents.truncation_psi", "dataset.coverage.min_samples"} <= seen
    sections = {name.partition(".")[0] for name in seen}
    assert sections == set(JobSpec.model_fields)


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_is_told_by_its_name_and_by_its_place(kind):
    found = explain(kind)
    assert found.path == "dataset.segmenter"
    assert [setting.name for setting in found.settings] == list(settings_class(kind).model_fields)
    assert explain(f"dataset.segmenter.{kind}") == found


@pytest.mark.parametrize("family", FAMILY_SETTINGS)
def test_a_generator_family_is_told_by_its_name(family):
    assert [one.name for one in explain(family).settings] == list(
        FAMILY_SETTINGS[family].model_fields
    )


def test_the_segmenter_section_lists_the_methods_with_a_sentence_each():
    found = explain("dataset.segmenter")
    assert list(found.choices) == list(METHODS)
    assert all(text.endswith(".") for text in found.choices.values())


@pytest.mark.parametrize(
    ("name", "values", "default"),
    [
        ("klish.cut", 'integer >= 2 <= 255 or "auto" or list of integer >= 0', '"auto"'),
        ("dataset.latents.truncation_psi", "number >= 0 <= 2", "1.0"),
        ("dataset.num_samples", "integer >= 1 <= 1000000000", "required"),
        ("dataset.accept.class_share", "mapping to [number >= 0 <= 1, number >= 0 <= 1]", "{}"),
        ("run.executor", '"ray" or "inline"', '"ray"'),
        ("klish.fitted", "string", "empty"),
    ],
)
def test_values_and_default_of_a_setting(name, values, default):
    (setting,) = explain(name).settings
    assert (setting.values, setting.default) == (values, default)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("klihs", "klish"),
        ("dataset.latent", "dataset.latents"),
        ("klish.cuts", "klish.cut"),
        ("dataset.segmenter.klsh", "dataset.segmenter.klish"),
        ("dataset.num_samples.more", "dataset.num_samples"),
        ("dataset..latents", "dataset.latents"),
        (".", ""),
        ("klish.fit.num_images.x", "klish.fit.num_images"),
    ],
)
def test_an_unknown_name_is_one_line_with_what_is_known(name, close):
    with pytest.raises(JobError) as caught:
        explain(name)
    assert "\n" not in str(caught.value)
    assert repr(name) in str(caught.value)
    assert (f"did you mean {close!r}" in str(caught.value)) == bool(close)
    assert caught.value.exit_code == 2


def test_the_command_prints_settings_and_json():
    said = CliRunner().invoke(app, ["explain", "klish"])
    assert said.exit_code == 0
    assert (
        'cut: integer >= 2 <= 255 or "auto" or list of integer >= 0 (default "auto")' in said.output
    )
    assert "more: factory explain klish.clean" in said.output
    told = CliRunner().invoke(app, ["explain", "klish.cut", "--json"])
    assert json.loads(told.output)["settings"][0]["default"] == '"auto"'
    wrong = CliRunner().invoke(app, ["explain", "nothing"])
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("error: explain: nothing in a job is called 'nothing'; known")


def test_what_it_names_can_be_written_into_a_job(tmp_path):
    """The path of a setting is the one that job files have."""
    file = tmp_path / "job.yaml"
    file.write_text(
        "name: a\n"
        "dataset: {num_samples: 1, generator: {kind: shapes}, segmenter: {kind: klish, cut: 4}}\n"
        "output: {uri: out}\n"
    )
    value: object = load_job(file)
    for key in explain("klish.cut").path.split("."):
        value = getattr(value, key)
    assert value == 4
