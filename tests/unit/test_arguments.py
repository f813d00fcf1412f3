"""Whatever is given to a public function, it is taken or refused in one line."""

import inspect
import math
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as pc
import pytest
from small_job import Witness, make_small, small_document

import factory
from factory.arguments import check_arguments
from factory.care.edit import EditSettings
from factory.dataset.reader import Dataset
from factory.dataset.torch_dataset import PairDataset
from factory.downstream.score_settings import ScoreSettings
from factory.manifest.labels import DatasetLabels
from factory.streaming import PairStream


class Mute:
    def __repr__(self):
        raise RuntimeError("no words")


ITSELF: dict = {}
ITSELF["dataset"] = [ITSELF, ITSELF]
DEEP: dict = {"name": []}
for _ in range(5000):
    DEEP = {"name": [DEEP]}

ODD = {
    "none": None,
    "fraction": 1.5,
    "negative": -1,
    "zero": 0,
    "huge": 10**30,
    "word": "x",
    "empty": "",
    "zero_character": "\0",
    "long": "a" * 5000,
    "address": "https://127.0.0.1:9/x",
    "slashes": "s3:/x",
    "machine": "file://other/x",
    "bytes": b"x",
    "list": [],
    "numbers": [1],
    "words": ["x"],
    "mapping": {},
    "number_keys": {1: 2},
    "itself": ITSELF,
    "deep": DEEP,
    "lock": {"name": threading.Lock()},
    "object": object(),
    "mute": Mute(),
    "nan": math.nan,
    "infinite": math.inf,
    "true": True,
    "array": np.array([1, 2]),
    "class": int,
    "slice": slice("a", "b"),
    "still": slice(0, 3, 0),
    "path": Path("nowhere"),
    "condition": pc.field("nowhere") > 0,
    "unlike": pc.field("key") > 0,
}

FUNCTIONS = [n for n in factory.__all__ if inspect.isfunction(getattr(factory, n))]
METHODS = [
    f"{kind.__name__}.{name}"
    for kind in (Dataset, PairDataset, PairStream, DatasetLabels)
    for name, member in vars(kind).items()
    if inspect.isfunction(member)
    and (not name.startswith("_") or name in ("__getitem__", "__contains__"))
    and len(inspect.signature(member).parameters) > 1
]
GOOD = {
    "run_job": {"job": None, "observer": Witness(), "progress": False},
    "estimate_job": {"job": None},
    "load_job": {"path": "nowhere.yaml"},
    "open_dataset": {"uri": "nowhere"},
    "stream": {"job": None, "num_samples": 1, "progress": False},
    "verify_dataset": {"dataset": None},
    "evaluate_model": {"model": "nowhere.pt", "on": "nowhere", "settings": ScoreSettings()},
    "edit_sample": {
        "dataset": None,
        "key": "000000000",
        "mask": np.zeros((32, 32), np.uint8),
        "settings": EditSettings(steps=1),
    },
    "JobSpec.from_dict": {"document": {}},
    "Dataset.__getitem__": {"which": 0},
    "Dataset.__contains__": {"key": "000000000"},
    "Dataset.samples": {},
    "Dataset.of_split": {"split": "train"},
    "Dataset.read": {"first": 0, "end": 2, "order": [0], "seed": None},
    "Dataset.facts": {},
    "Dataset.to_torch": {},
    "Dataset.table": {"num_classes": 4},
    "PairDataset.set_epoch": {"epoch": 1},
    "PairDataset.resume_after": {"epoch": 1, "num_batches": 2, "batch_size": 3},
    "PairDataset.load_state_dict": {"state": {"epoch": 1, "pairs": 2}},
    "DatasetLabels.table": {"num_classes": 4},
}
"""Every public function with the arguments it needs; `job` and `dataset` are filled in."""


def test_no_public_function_is_forgotten_here():
    assert set(GOOD) == {*FUNCTIONS, *METHODS, "JobSpec.from_dict"}


@pytest.fixture(scope="module")
def owners(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arguments")
    make_small(folder)
    dataset = factory.open_dataset(folder / "out")
    return {
        "": factory,
        "JobSpec": factory.JobSpec,
        "Dataset": dataset,
        "PairDataset": dataset.to_torch(),
        "DatasetLabels": dataset.manifest.meaning,
        "job": small_document(folder),
        "dataset": folder / "out",
    }


def parameters():
    owner = {
        kind.__name__: kind
        for kind in (Dataset, PairDataset, PairStream, DatasetLabels, factory.JobSpec)
    } | {"": factory}
    for name in GOOD:
        where, _, attribute = name.rpartition(".")
        for parameter in inspect.signature(getattr(owner[where], attribute)).parameters:
            if parameter != "self":
                yield name, parameter


def filled_in(name, owners):
    return {k: owners.get(k, v) for k, v in GOOD[name].items()}


def take(name, owners, arguments):
    where, _, attribute = name.rpartition(".")
    result = getattr(owners[where], attribute)(**arguments)
    if name in ("Dataset.samples", "Dataset.read", "Dataset.to_torch", "stream"):
        next(iter(result), None)  # what it gives is made when it is asked for


def refusal(name, owners, arguments):
    try:
        take(name, owners, arguments)
    except (factory.FactoryError, IndexError, KeyError, TypeError) as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameter"), list(parameters()))
def test_an_odd_value_is_taken_or_refused_in_one_line(name, parameter, owners):
    good = filled_in(name, owners)
    for odd in ODD.values():
        error = refusal(name, owners, good | {parameter: odd})
        if isinstance(error, (IndexError, KeyError)):
            assert name == "Dataset.__getitem__", "as of any sequence and mapping"
        elif isinstance(error, TypeError):
            assert (parameter, odd) == ("transform", int), "a function that is called with a pair"
        elif error is not None:
            assert error.where
            assert error.found
            assert str(error)


@pytest.mark.parametrize("name", [n for n in GOOD if n != "Dataset.__contains__"])
def test_a_value_of_no_kind_is_told_with_the_name_of_its_parameter(name, owners):
    for owner, parameter in parameters():
        if owner != name:
            continue
        good = filled_in(name, owners)
        with pytest.raises(factory.JobError) as caught:
            take(name, owners, good | {parameter: object()})
        assert caught.value.where == parameter
        assert caught.value.found.startswith("found <object obj")
        assert caught.value.allowed


@pytest.mark.parametrize("values", [{}, {"name": None}, {"dataset": object()}, {"other": 1}])
def test_a_job_that_is_called_into_being_has_the_errors_of_a_file(values):
    with pytest.raises(factory.JobError, match=r"^job: \d problems?\n  "):
        factory.JobSpec(**values)


def test_the_messages_say_what_is_allowed(owners):
    def told(call):
        with pytest.raises(factory.JobError) as caught:
            call()
        return str(caught.value)

    dataset, job = owners["Dataset"], owners["job"]
    assert told(lambda: factory.run_job(job, False)) == (
        "observer: found False; an object like factory's JobObserver or None"
    )
    assert told(lambda: factory.open_dataset(None)) == "uri: found None; a string or a path"
    assert told(lambda: factory.stream(job, num_samples=1.5)) == (
        "num_samples: found 1.5; a whole number or None"
    )
    assert told(lambda: factory.edit_sample("x", "y", np.zeros(3))) == (
        "mask: found array([0., 0., 0.]); a path, a string or an array of uint8 (h w)"
    )
    assert told(lambda: factory.stream(5)) == (
        "job: found 5; a JobSpec, a string, a path or a mapping with strings as keys"
    )
    assert told(lambda: dataset.facts(where="text")) == (
        "where: found 'text'; an object like pyarrow's Expression or None"
    )
    assert told(lambda: dataset.facts("key")) == "columns: found 'key'; a list of strings or None"
    assert told(lambda: dataset.to_torch(seed="x")) == "seed: found 'x'; a whole number"
    assert told(lambda: dataset.to_torch(transform=3)) == ("transform: found 3; a function or None")
    assert told(lambda: owners["PairDataset"].set_epoch(2**63)) == (
        "epoch: found 9223372036854775808; a number from 0 to 2^63 - 1"
    )


def test_whole_numbers_of_numpy_become_those_of_python():
    def kind_of(number: int) -> type:
        return type(number)

    assert check_arguments(kind_of)(np.uint8(3)) is int


def test_an_argument_that_is_missing_or_unknown_is_told_by_python():
    @check_arguments
    def add(one: int, two: int = 2) -> int:
        return one + two

    with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'one'"):
        add()
    with pytest.raises(TypeError, match="unexpected keyword argument 'tow'"):
        add(1, tow=3)
    assert add.__name__ == "add"


def test_an_annotation_in_quotes_is_refused_where_it_is_written():
    def quoted(_job: "SimpleNamespace") -> None:
        pass

    with pytest.raises(AssertionError, match=r"cannot be checked: \['_job'\]"):
        check_arguments(quoted)
