import sys

import pytest
import torch

from factory.errors import PluginError
from factory.generate import GENERATORS
from factory.generate.base import GeneratorFacts, load_generator
from factory.plugins import Registry
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
