"""The identity of a plugin's settings: what its class takes them for, not how they are written."""

import sys
from types import ModuleType

import pytest
from pydantic import Field
from small_job import small_job

from factory.errors import JobError
from factory.plan.identity import make_identity
from factory.run.job_identity import identify_job
from factory.spec import Method, MethodSettings
from factory.spec.settings import IdentityFields, Settings

DIGESTS = {"weights_sha256": "w" * 64, "segmenter_sha256": "s" * 64}


class Part(Settings):
    """Nested settings with a `kind` of their own."""

    kind: str = "plain"
    """Which one."""
    weight: float = 1.0
    """A number."""


class Own(MethodSettings):
    """A plugin's settings."""

    num_rounds: int = 25
    """A number."""
    share: float = 0.5
    """A fraction."""
    names: list[str] = Field(["a", "b"])
    """Names."""
    part: Part = Part()
    """A part."""
    parts: dict[str, Part] = Field({})
    """More parts."""


class Listed(MethodSettings):
    """A plugin's settings with a list; the default of `grown` was changed since."""

    identity_fields = IdentityFields(("share",), later={"grown": 1}, left_out=("threads",))

    share: float = 0.5
    """A fraction."""
    grown: int = 2
    """It was built in as 1."""
    threads: int = 1
    """Changes no byte."""


class Segmenter:
    """Never called."""

    def segment(self, _batch):
        """Never called."""


@pytest.fixture(autouse=True)
def module(monkeypatch):
    made = ModuleType("an_own_method")
    made.Own, made.Listed, made.Segmenter = Own, Listed, Segmenter
    for name in ("Own", "Listed"):
        target = f"an_own_method:{name}"
        setattr(made, f"{name.upper()}", Method(segmenter="an_own_method:S", settings=target))
    made.S = Segmenter
    monkeypatch.setitem(sys.modules, "an_own_method", made)


def job(folder, settings, kind="an_own_method:OWN"):
    return small_job(folder, {"dataset.segmenter": {"kind": kind, "settings": settings}})


def settings_in(folder, settings, kind="an_own_method:OWN"):
    return identify_job(job(folder, settings, kind), **DIGESTS)["segmenter"]["settings"]


@pytest.mark.parametrize(
    "written",
    [
        {"num_rounds": 25},
        {"share": 0.5, "names": ["a", "b"]},
        {"part": {}},
        {"part": {"weight": 1, "kind": "plain"}},
        {"parts": {}},
    ],
)
def test_a_default_that_is_written_out_does_not_make_another_dataset(tmp_path, written):
    assert identify_job(job(tmp_path, written), **DIGESTS) == identify_job(
        job(tmp_path, {}), **DIGESTS
    )


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ({"share": 1}, {"share": 1.0}),
        ({"num_rounds": 24, "share": 0.5}, {"num_rounds": 24}),
        ({"part": {"kind": "odd", "weight": 1.0}}, {"part": {"kind": "odd"}}),
        (
            {"parts": {"one": {"weight": 2}, "two": {}}},
            {"parts": {"one": {"weight": 2.0}, "two": {}}},
        ),
    ],
)
def test_what_differs_from_a_default_is_part_in_one_form(tmp_path, written, part):
    assert settings_in(tmp_path, written) == part


def test_a_job_that_writes_no_default_has_the_identity_that_it_always_had(tmp_path):
    written = job(tmp_path, {"num_rounds": 24, "names": ["b"]})
    assert identify_job(written, **DIGESTS) == make_identity(written, **DIGESTS)


def test_a_default_that_was_changed_since_is_told_by_the_list_of_the_class(tmp_path):
    kind = "an_own_method:LISTED"
    assert settings_in(tmp_path, {}, kind) == {"grown": 2}
    assert settings_in(tmp_path, {"grown": 1, "threads": 4}, kind) == {}


def test_a_teacher_s_settings_are_treated_alike(tmp_path):
    def section(settings):
        teacher = {"kind": "an_own_method:OWN", "settings": settings}
        spec = small_job(tmp_path, {"dataset.segmenter": {"kind": "distil", "teacher": teacher}})
        return identify_job(spec, **DIGESTS)["segmenter"]

    assert section({"num_rounds": 25, "share": 0.25})["teacher"]["settings"] == {"share": 0.25}
    assert section({"num_rounds": 25}) == section({})


def test_settings_without_a_class_are_part_as_they_are_written(tmp_path):
    written = {"num_rounds": 25, "share": 1}
    assert settings_in(tmp_path, written, "an_own_method:S") == written


def test_a_dataset_that_was_made_with_written_defaults_goes_on(tmp_path):
    written = job(tmp_path, {"num_rounds": 25})
    theirs = make_identity(written, **DIGESTS)
    assert theirs != identify_job(written, **DIGESTS)
    assert identify_job(written, **DIGESTS, theirs=theirs) == theirs
    other = identify_job(job(tmp_path, {"num_rounds": 24}), **DIGESTS, theirs=theirs)
    assert other["segmenter"]["settings"] == {"num_rounds": 24}


def test_a_method_of_ours_has_the_identity_of_its_settings(tmp_path):
    spec = small_job(tmp_path)
    assert identify_job(spec, **DIGESTS) == make_identity(spec, **DIGESTS)


def test_a_misspelt_setting_is_told_with_its_path(tmp_path):
    with pytest.raises(JobError, match=r"dataset\.segmenter\.settings\.shares: unknown key"):
        settings_in(tmp_path, {"shares": 1})
