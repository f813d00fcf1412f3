"""What people write in YAML files is what the factory reads, and no file costs more than it holds."""

import math

import pytest
import yaml

from factory.spec.yaml_text import dump_yaml, parse_yaml

WORDS = ["no", "yes", "on", "off", "y", "n", "NO", "Off", "12:30", "1:2:3", "2024-01-01", "="]
WORDS += ["1_000", "0b11", "0777_7", "nul", "truex", ".", "-", "+", "e3", "0x", "é"]
NUMBER_LIKE = [
    "1",
    "-1",
    "+1",
    "010",
    "08",
    "0o14",
    "0x1F",
    "1e3",
    "1.",
    ".5",
    ".inf",
    "-.INF",
    ".nan",
]
OTHERS = [
    "true",
    "False",
    "null",
    "~",
    "",
    "<<",
    "a: b",
    "#x",
    " lead",
    "trail ",
    "x\ny",
    "\x1b[2J",
]


def refused(text):
    with pytest.raises(ValueError, match=r"found|line") as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bomb(line):
    return "a0: &a0 [x, x, x]\n" + "".join(
        f"a{i}: &a{i} {line.format(', '.join([f'*a{i - 1}'] * 9))}\n" for i in range(1, 20)
    )


@pytest.mark.parametrize("word", [w for w in WORDS if w not in ("-", "é")])
def test_what_looks_like_a_word_is_that_word(word):
    assert parse_yaml(f"[{word}, {{{word}: 1}}]") == [word, {word: 1}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-0", 0),
        ("+7", 7),
        ("0o14", 12),
        ("0x1f", 31),
        ("1e3", 1000.0),
        ("1e-3", 0.001),
        ("5.", 5.0),
        (".5", 0.5),
        ("01.5", 1.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ('"no"', "no"),
        ("'12'", "12"),
    ],
)
def test_numbers_and_the_two_words_for_yes_and_no_are_those_of_yaml_1_2(text, value):
    found = parse_yaml(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["010", "00", "-07", "08", "00012"])
@pytest.mark.parametrize("frame", ["[{}]", "{{{}: 1}}"])
def test_a_number_that_two_versions_read_differently_is_refused(text, frame):
    assert f"found {text}, which YAML 1.1 reads as octal" in refused(frame.format(text))
    assert parse_yaml(frame.format(f"'{text}'")) in ([text], {text: 1})


@pytest.mark.parametrize("word", [*WORDS, *NUMBER_LIKE, *OTHERS])
def test_every_version_of_yaml_reads_back_the_string_that_was_written(word):
    document = {"value": word, word: 1, "list": [word]}
    text = dump_yaml(document)
    assert parse_yaml(text) == document
    assert yaml.safe_load(text) == document  # a reader of YAML 1.1
    assert parse_yaml(dump_yaml(word, on_one_line=True)) == word


def test_numbers_and_lists_come_back_as_they_were():
    document = {"a": [1, -2, 1e-5, 1e30, True, None, {"b": []}], "c": {}}
    assert parse_yaml(dump_yaml(document)) == document
    assert parse_yaml(dump_yaml(document, on_one_line=True)) == document
    assert dump_yaml({"b": 1, "a": 2}) == "b: 1\na: 2\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "line 2, column 1: key 'a' is written twice; leave one out"),
        ("{1: a, 1: b}", "key 1 is written twice"),
        ("? [1]\n: 2", "a key is a list or a mapping"),
        ("a: !!set {b}", "found the tag 'tag:yaml.org,2002:set'; leave tags out"),
        ("a: !!binary aGk=", "found the tag"),
        ("a: !!timestamp 2024-01-01", "found the tag"),
        ("a: !!int 1_0", "found '1_0' after the tag 'tag:yaml.org,2002:int'; leave it out"),
        ("a: " + "9" * 5000, "line 1, column 4: found a number of 5000 digits; at most 40"),
        ("a: 1e999", "found 1e999, which is too large for a number"),
        ("[" * 5000, "lists and mappings more than 40 deep"),
        ("{a: " * 5000, "lists and mappings more than 40 deep"),
        ("a: &x {b: *x}", "found 'x', which stands for something that holds itself"),
        ("a: *nobody", "not valid YAML: found undefined alias 'nobody' (line 1, column 4)"),
        ("a: \0", "not valid YAML: found U+0000 as character 4"),
        ("--- 1\n--- 2", "expected a single document"),
        ("a: 'secret", "not valid YAML: while scanning a quoted scalar"),
        ("x" * 300_000, "found more than 262,144 characters"),
        (bomb("[{}]"), "found more than 50,000 values, aliases written out"),
        (bomb("{{<<: [{}]}}"), "found more than 50,000 values, aliases written out"),
    ],
)
def test_what_is_no_plain_document_is_refused_in_one_line_without_its_text(text, words):
    assert words in refused(text)
    assert "secret" not in refused(text)


def test_aliases_deepen_what_they_stand_in():
    deep = "a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 20 + "*a" + "]" * 20
    assert "more than 40 deep" in refused(deep)


def test_anchors_and_merge_keys_still_spare_writing_things_twice():
    text = "x: &a {p: 1, r: 3}\ny:\n  <<: *a\n  p: 2\nz: *a"
    assert parse_yaml(text)["y"] == {"p": 2, "r": 3}
    assert parse_yaml(text)["z"] == {"p": 1, "r": 3}
