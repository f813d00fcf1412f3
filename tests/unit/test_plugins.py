import json
import sys

import pytest
import torch
from small_job import small_document
from typer.testing import CliRunner

from factory.cli.app import app
from factory.errors import JobError, PluginError
from factory.generate import GENERATORS
from factory.generate.base import GeneratorFacts, load_generator
from factory.plugins import Registry, Role
from factory.segment import SEGMENTERS
from factory.segment.base import load_segmenter
from factory.spec import GeneratorSpec, PluginSegmenterSpec

CPU = torch.device("cpu")
REGISTRY = Registry("fruit", "factory.no_such_group", {"apple": "json:loads", "pear": "json:zzz"})


def refusal(call):
    with pytest.raises(PluginError) as caught:
        call()
    return str(caught.value)


def test_a_name_is_found_in_the_table():
    assert REGISTRY.names() == ["apple", "pear"]
    assert REGISTRY.load("apple").__name__ == "loads"


def test_a_name_that_is_not_asked_for_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "never_imported.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("fruit", "none", {"plum": "never_imported:Plum"})
    assert registry.target("plum") == "never_imported:Plum"
    assert "never_imported" not in sys.modules


def test_a_module_and_attribute_is_found_without_a_table():
    assert REGISTRY.load("os.path:join")("a", "b") == "a/b"


def test_an_unknown_name_is_told_with_the_known_ones_and_the_likely_one():
    assert refusal(lambda: REGISTRY.load("aple")) == (
        "no fruit named 'aple'; known: apple, pear, or module:attribute; did you mean 'apple'?"
    )
    assert refusal(lambda: REGISTRY.load("zzz")) == (
        "no fruit named 'zzz'; known: apple, pear, or module:attribute"
    )


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("pear", "json:zzz", "module 'json' has no attribute 'zzz'"),
        ("no_such_module:x", "no_such_module:x", "No module named 'no_such_module'"),
        ("json:", "json:", "module 'json' has no attribute ''"),
    ],
)
def test_what_cannot_be_imported_is_told_with_its_target(name, target, reason):
    assert refusal(lambda: REGISTRY.load(name)) == (
        f"fruit {name!r}: cannot import {target!r} ({reason}); check the spelling and that its "
        "package is installed here and on every worker"
    )


@pytest.mark.parametrize("name", [":x", ".relative:x"])
def test_a_module_that_cannot_be_a_module_is_refused_too(name):
    assert "cannot import" in refusal(lambda: REGISTRY.load(name))


@pytest.mark.parametrize("registry", [GENERATORS, SEGMENTERS])
def test_every_plugin_of_the_tables_can_be_imported(registry):
    assert registry.table
    for name in registry.table:
        assert callable(registry.load(name))


def test_what_is_no_generator_is_refused():
    sys.modules["not_a_generator"] = type(sys)("not_a_generator")
    sys.modules["not_a_generator"].make = lambda *_: "hello"
    spec = GeneratorSpec(kind="not_a_generator:make")
    assert refusal(lambda: load_generator(spec, None, device=CPU)) == (
        "generator 'not_a_generator:make': str is not a generator; it needs facts, draw_z and "
        "generate (see factory/generate/base.py)"
    )


def test_what_is_no_segmenter_is_refused():
    sys.modules["not_a_segmenter"] = type(sys)("not_a_segmenter")
    sys.modules["not_a_segmenter"].make = lambda *_: 3
    spec = PluginSegmenterSpec(kind="not_a_segmenter:make")
    facts = GeneratorFacts(8, 0, (), {})
    assert refusal(lambda: load_segmenter(spec, None, facts, CPU)) == (
        "segmenter 'not_a_segmenter:make': int is not a segmenter; it needs labels, layers and "
        "segment or segment_latents (see factory/segment/base.py)"
    )


def test_an_unknown_generator_is_told_with_the_likely_one():
    text = refusal(lambda: load_generator(GeneratorSpec(kind="stylegan22"), None, device=CPU))
    assert text.startswith("no generator named 'stylegan22'; known: ")
    assert text.endswith("or module:attribute; did you mean 'stylegan2'?")


FOREIGN = {
    "os:system": "it takes (command)",
    "json:dumps": "it takes (obj, *, skipkeys=False",
    "operator:add": "it takes (a, b, /)",
    "subprocess:call": "it raises ",
    "os.path:join": "it raises TypeError: ",
    "pathlib:Path": "a class without ",
    "collections:OrderedDict": "a class without ",
    "builtins:int": "a class without ",
}


@pytest.mark.parametrize(("kind", "found"), FOREIGN.items())
def test_what_is_no_plugin_of_this_role_is_one_line_of_the_setting_that_names_it(kind, found):
    facts = GeneratorFacts(8, 0, (), {})
    for noun, load in (
        ("generator", lambda: load_generator(GeneratorSpec(kind=kind), None, device=CPU)),
        ("segmenter", lambda: load_segmenter(PluginSegmenterSpec(kind=kind), None, facts, CPU)),
    ):
        with pytest.raises(JobError) as caught:
            load()
        assert str(caught.value).startswith(
            f"dataset.{noun}.kind: found {kind!r}, which is no {noun}: {found}"
        )
        assert f"a {noun} is a class, or a function that makes one, called with" in str(
            caught.value
        )
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("section", ["generator", "segmenter"])
def test_plan_and_run_refuse_it_before_the_output_is_touched(section, tmp_path):
    overrides = {"dataset.segmenter": {"kind": "os:system"}}
    if section == "generator":  # beside a segmenter that needs no fit, which would load it first
        mixing = {"kind": "style_mixing", "stop_px": 32, "num_variants": 4}
        overrides = {"dataset.generator": {"kind": "os:system"}, "dataset.segmenter": mixing}
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps(small_document(tmp_path, overrides)))
    for command in ("plan", "run"):
        result = CliRunner().invoke(app, [command, str(job)])
        assert result.exit_code == 2, result.output
        (line,) = [line for line in result.stderr.splitlines() if " info " not in line]
        assert line.startswith(f"error: dataset.{section}.kind: found 'os:system', which is no")
    assert not (tmp_path / "out").exists()


class _Broken:
    def __init__(self, *_args):
        raise TypeError("the author's own mistake")

    def generate(self):
        """Only so that it looks like one."""


def test_a_mistake_inside_a_plugin_s_class_is_shown_whole():
    sys.modules["broken_generator"] = type(sys)("broken_generator")
    sys.modules["broken_generator"].Broken = _Broken
    with pytest.raises(TypeError, match="the author's own mistake"):
        load_generator(GeneratorSpec(kind="broken_generator:Broken"), None, device=CPU)


def test_an_object_may_be_the_plugin_itself():
    role = Role("here", "thing", ("one",), ("go",))
    assert role.call("a:b", 7, "x") == 7
    assert role.call("a:b", lambda one: one * 2, "x") == "xx"
