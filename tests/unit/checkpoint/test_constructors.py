"""Constructors of the allowed globals take validated arguments only, and give inert data."""

import struct

import pytest
import torch

from factory.checkpoint.pickles.constructors import CallSite, build, make, make_instance
from factory.checkpoint.pickles.nodes import (
    Array,
    ByteRange,
    DType,
    Kind,
    OpaqueObject,
    PersistentObject,
    PickledObject,
    PickledSet,
    Storage,
    Token,
)
from factory.checkpoint.pickles.source import Budget, Stream
from factory.errors import WeightsError

STORAGE = Storage(torch.float32, 6, "0")
RECORD = {"type": "class", "version": 6, "module_src": "# s", "class_name": "G", "state": {"a": 1}}


def data(raw):
    return ByteRange(Stream(memoryview(raw), "x.pkl"), 0, len(raw))


@pytest.fixture
def call():
    return CallSite(Stream(memoryview(bytes(20)), "x.pkl"), 7, Budget("x.pkl", 2**20))


def token(kind):
    return Token("some", "name", kind)


def test_a_class_record_becomes_an_object_that_only_holds_its_state(call):
    made = make(token(Kind.PERSISTENT_OBJECT), (RECORD,), call)
    assert isinstance(made, PersistentObject)
    assert (made.class_name, made.source, made.state) == ("G", "# s", {"a": 1})


def test_pairs_members_bytes_and_sizes_are_made(call):
    assert make(token(Kind.ORDERED_DICT), (), call) == {}
    assert make(token(Kind.ORDERED_DICT), ([("a", 1), (2, 3)],), call) == {"a": 1, 2: 3}
    assert make(token(Kind.SET), ([1, 2],), call).members == [1, 2]
    assert make(token(Kind.ENCODE), ("\xff\x00", "latin1"), call).view() == b"\xff\x00"
    assert make(token(Kind.SIZE), ([2, 3],), call) == (2, 3)


def test_a_tensor_is_a_view_that_lies_inside_its_storage(call):
    made = make(token(Kind.TENSOR), (STORAGE, 0, (2, 3), (3, 1), False, {}), call)
    assert (made.size, made.stride, made.dtype) == ((2, 3), (3, 1), torch.float32)
    assert made.place == call.place
    assert make(token(Kind.PARAMETER), (made, True, {}), call) is made
    with pytest.raises(WeightsError, match="a tensor lies inside its storage"):
        make(token(Kind.TENSOR), (STORAGE, 1, (2, 3), (3, 1), False, {}), call)


def test_a_tensor_that_says_its_own_type_counts_its_storage_in_that_type(call):
    nibbles = Storage(torch.uint8, 6, "0")
    half = Token("torch", "bfloat16", Kind.OPAQUE, torch.bfloat16)
    made = make(token(Kind.TYPED_TENSOR), (nibbles, 0, (3,), (1,), False, {}, half), call)
    assert (made.dtype, made.size) == (torch.bfloat16, (3,))
    with pytest.raises(WeightsError, match="a tensor lies inside its storage"):
        make(token(Kind.TYPED_TENSOR), (nibbles, 0, (4,), (1,), False, {}, half), call)


def test_numbers_of_numpy_are_read_from_their_bytes(call):
    dtype = make(token(Kind.DTYPE), ("<f4", False, True), call)
    assert (dtype.code, dtype.byte_order) == ("f4", "<")
    assert make(token(Kind.NUMPY_SCALAR), (dtype, data(struct.pack("<f", 1.5))), call) == 1.5
    array = make(token(Kind.NUMPY_BUFFER), (data(bytes(24)), dtype, (2, 3), "F"), call)
    assert (array.shape, array.fortran_order) == ((2, 3), True)
    ndarray = token(Kind.NUMPY_TYPE)
    empty = make(token(Kind.NUMPY_ARRAY), (ndarray, (0,), data(b"b")), call)
    build(empty, (1, (6,), dtype, False, data(bytes(24))), call)
    assert (empty.shape, empty.dtype) == ((6,), dtype)


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        (Kind.PERSISTENT_OBJECT, (RECORD | {"version": 5},)),
        (Kind.PERSISTENT_OBJECT, (RECORD | {"class_name": "a b"},)),
        (Kind.ORDERED_DICT, ([("a", 1, 2)],)),
        (Kind.ORDERED_DICT, ([((1, 2), 1)],)),
        (Kind.SET, ((1, 2),)),
        (Kind.ENCODE, ("\u0100", "latin1")),
        (Kind.ENCODE, ("a", "utf-8")),
        (Kind.SIZE, ([1] * 9,)),
        (Kind.PARAMETER, ("x", True, {})),
        (Kind.TENSOR, (STORAGE, 0.0, (2,), (1,), False, {})),
        (Kind.NUMPY_SCALAR, (DType("f4"), data(bytes(8)))),
        (Kind.NUMPY_BUFFER, (data(bytes(20)), DType("f4"), (2, 3), "C")),
        (Kind.NUMPY_BUFFER, (data(b""), DType("f4"), (-1, 0), "C")),
        (Kind.DTYPE, (">f4",)),
        (Kind.DTYPE, ("O",)),
        (Kind.DTYPE, ("f4,f4",)),
        (Kind.DTYPE, (4,)),
        (Kind.STORAGE_TYPE, ()),
    ],
)
def test_other_arguments_are_refused_with_their_place(kind, args, call):
    with pytest.raises(WeightsError, match=r"x\.pkl: .*7"):
        make(token(kind), args, call)


def test_bytes_written_as_text_count_against_the_limit(call):
    call.budget.text_bytes = 3
    make(token(Kind.ENCODE), ("abc", "latin1"), call)
    with pytest.raises(WeightsError, match="Latin-1"):
        make(token(Kind.ENCODE), ("d", "latin1"), call)


def test_what_is_tolerated_is_recorded_and_not_interpreted(call):
    opaque = make(token(Kind.OPAQUE), (1, 2), call)
    assert isinstance(opaque, OpaqueObject)
    build(opaque, "anything", call)
    assert (opaque.args, opaque.state) == ((1, 2), "anything")
    assert isinstance(make_instance(token(Kind.OPAQUE), (3,), call), OpaqueObject)


def test_instances_are_made_of_listed_classes_and_without_arguments(call):
    made = make_instance(token(Kind.INSTANCE), (), call)
    build(made, {"lr": 1}, call)
    assert isinstance(made, PickledObject)
    assert made.state == {"lr": 1}
    for wrong, args in ((token(Kind.INSTANCE), (1,)), (token(Kind.SET), ()), ("os.system", ())):
        with pytest.raises(WeightsError, match="NEWOBJ of"):
            make_instance(wrong, args, call)


def test_only_objects_with_a_known_state_take_one(call):
    build({}, {"_metadata": 1}, call)  # an OrderedDict's attributes
    for target, state in (
        (PickledSet([]), {}),
        (token(Kind.SET), {}),
        ({}, [1]),
        (DType("f4"), {}),
    ):
        with pytest.raises(WeightsError, match="BUILD on"):
            build(target, state, call)
    with pytest.raises(WeightsError, match="big-endian or structured"):
        build(DType("f4"), (3, ">", None, None, None, -1, -1, 0), call)
    with pytest.raises(WeightsError, match="bytes do not fit"):
        build(Array(), (1, (2,), DType("f4"), False, data(bytes(7))), call)
