import json
import pickle
import subprocess
import sys

import pytest

from factory import errors
from factory.errors import (
    FactoryError,
    JobError,
    Problem,
    SettingProblem,
    closest,
    count_problems,
    did_you_mean,
    kind_in_words,
    restore_error,
)

TREE = {
    "FactoryError": ("Exception", 1),
    "JobError": ("FactoryError", 2),
    "WeightsError": ("JobError", 2),
    "MissingWeightsError": ("WeightsError", 2),
    "UnknownGeneratorError": ("WeightsError", 2),
    "PluginError": ("FactoryError", 3),
    "ShardError": ("FactoryError", 4),
    "RetryableError": ("ShardError", 4),
    "PreemptedError": ("RetryableError", 4),
    "IncompleteError": ("FactoryError", 5),
    "StoreError": ("FactoryError", 6),
    "UnreachableError": ("StoreError", 6),
    "DamageError": ("StoreError", 7),
    "Interrupted": ("FactoryError", 75),
}
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, FactoryError)
}


def test_the_tree_of_errors_and_its_exit_codes_are_the_documented_ones():
    found = {name: (kind.__base__.__name__, kind.exit_code) for name, kind in KINDS.items()}
    assert found == TREE


@pytest.mark.parametrize("name", TREE)
def test_the_module_s_drawing_shows_every_error_with_its_exit_code(name):
    drawn = [line.split() for line in errors.__doc__.splitlines()]
    codes = [words[words.index(name) + 1] for words in drawn if name in words]
    assert codes == [str(TREE[name][1])]


def test_every_error_crosses_a_process_boundary_with_its_type_and_text():
    code = (
        "import pickle, sys\nfrom factory import errors\n"
        "made = [getattr(errors, n)(f'{n}: two\\nlines, \\u00e4') for n in sys.argv[1:]]\n"
        "sys.stdout.buffer.write(pickle.dumps(made))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, *TREE], capture_output=True, check=True, timeout=60
    )
    arrived = pickle.loads(finished.stdout)
    assert [type(error) for error in arrived] == [KINDS[name] for name in TREE]
    assert [str(error) for error in arrived] == [f"{name}: two\nlines, ä" for name in TREE]


PARTS = {"where": "a.yaml", "found": "3 of b; c", "allowed": "1 or 2", "remedy": "take one"}
PROBLEMS = (
    SettingProblem("dataset.sed", "unknown_key", "unknown key", "known here: seed", "seed"),
    Problem("data/a: b.tar", "contents", "no mask", "mend it", sample="000000001"),
)


def test_a_message_is_made_of_its_parts():
    assert str(FactoryError(**PARTS)) == "a.yaml: 3 of b; c; 1 or 2; take one"
    assert str(FactoryError(found="gone", remedy="look")) == "gone; look"
    whole = FactoryError("a: b; c")
    assert (str(whole), whole.where, whole.found, whole.remedy) == ("a: b; c", "", "a: b; c", "")


@pytest.mark.parametrize("name", TREE)
@pytest.mark.parametrize("across", ["pickle", "JSON"])
def test_an_error_keeps_its_parts_and_problems_across_processes(name, across):
    error = KINDS[name](**PARTS, problems=PROBLEMS)
    if across == "pickle":
        arrived = pickle.loads(pickle.dumps(error))
    else:
        arrived = restore_error(json.loads(json.dumps(error.facts())))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert {part: getattr(arrived, part) for part in PARTS} == PARTS
    assert arrived.problems == PROBLEMS


def test_a_message_that_its_parts_do_not_make_crosses_too():
    error = JobError("two\nlines", where="a", found="b")
    for arrived in (pickle.loads(pickle.dumps(error)), restore_error(error.facts())):
        assert (str(arrived), arrived.where, arrived.found) == ("two\nlines", "a", "b")


def test_an_error_of_a_plugin_is_told_as_the_kind_it_is_of():
    class OwnError(JobError):
        pass

    assert type(restore_error(OwnError("x").facts())) is JobError


def test_a_problem_s_line_is_made_of_its_parts():
    assert str(PROBLEMS[0]) == "dataset.sed: unknown key; did you mean 'seed'?"
    assert str(PROBLEMS[1]) == "data/a: b.tar: sample 000000001: no mask; mend it"
    value = SettingProblem("num", "value", "0", "must be at least 1")
    assert str(value) == "num: must be at least 1 (got 0)"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BrokenPipeError(), "broken pipe"),
        (KeyError("secret"), "key"),
        (type("SSLError", (OSError,), {})("secret"), "ssl"),
        (type("ProfileNotFound", (Exception,), {})(), "profile not found"),
        (Exception("secret"), "failed"),
    ],
)
def test_an_error_s_kind_is_told_in_words_and_without_its_text(error, words):
    assert kind_in_words(error) == words


def test_one_problem_is_no_plural():
    assert [count_problems(number) for number in (1, 2)] == ["1 problem", "2 problems"]


def test_a_misspelt_name_is_asked_about_in_whatever_case():
    known = ("coco", "coco-semantic", "Folders")
    assert did_you_mean("COCO", known) == "did you mean 'coco'?"
    assert (closest("folder", known), closest("zzz", known)) == ("Folders", "")
    assert did_you_mean("zzz", known) == ""
