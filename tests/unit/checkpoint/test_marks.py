"""Generators among the names of tensors, wherever they lie."""

import pytest

from factory.checkpoint.families.marks import find_generators, words_of

STYLEGAN2 = {"synthesis.b4.const": (4, 4, 4), "mapping.fc0.weight": (4, 4)}
CHAIN = {"main.0.weight": (100, 64, 4, 4), "main.3.weight": (64, 3, 4, 4)}


def below(prefix, shapes):
    return {prefix + name: shape for name, shape in shapes.items()}


@pytest.mark.parametrize("prefix", ["", "G_ema.", "module.net.generator."])
def test_a_generator_is_found_below_any_prefix(prefix):
    others = {"D.b4.conv.weight": (3, 3, 3, 3), f"{prefix}step": ()}
    (found,) = find_generators(below(prefix, STYLEGAN2) | others)
    assert (found.family, found.program, found.prefix) == ("stylegan2", "", prefix)
    assert found.own(f"{prefix}mapping.fc0.weight") == "mapping.fc0.weight"
    if prefix:
        assert found.own("D.b4.conv.weight") is None


def test_two_generators_in_one_file_are_two():
    shapes = below("G.", STYLEGAN2) | below("G_ema.", STYLEGAN2)
    assert [found.prefix for found in find_generators(shapes)] == ["G.", "G_ema."]


def test_an_ending_of_another_name_is_no_prefix():
    assert find_generators(below("not_a_", STYLEGAN2)) == []


def test_half_of_a_mark_is_no_generator():
    assert find_generators({"synthesis.b4.const": (4, 4, 4)}) == []


def test_a_telling_name_goes_before_a_general_one():
    shapes = {
        "synthesis.input.freqs": (4, 2),
        "mapping.fc0.weight": (4, 4),
        "mapping.embed_proj.weight": (4, 4),
    }
    assert [found.family for found in find_generators(shapes)] == ["stylegan_xl"]
    del shapes["mapping.embed_proj.weight"]
    assert [found.family for found in find_generators(shapes)] == ["stylegan3"]


def test_a_chain_counts_under_a_generator_s_name_and_where_nothing_more_telling_is():
    beside = {"optimiser.step": ()}
    (found,) = find_generators(below("netG.", CHAIN) | beside)
    assert (found.family, found.prefix) == ("dcgan", "netG.")
    assert find_generators(below("decoder.", CHAIN) | beside) == []
    (found,) = find_generators(CHAIN)
    assert found.prefix == "", "a file that holds nothing else"
    both = below("netG.", CHAIN) | STYLEGAN2
    assert [found.family for found in find_generators(both)] == ["stylegan2"]


def test_names_of_programs_are_taken_apart_into_words():
    assert words_of("netG_ema") == {"net", "g", "ema"}
    assert words_of("styleGAN2Generator") == {"style", "gan", "2", "generator"}
