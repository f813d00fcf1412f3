"""Everything in a file that a generator may be read from is listed, however it is nested."""

import pytest
import torch

from factory.checkpoint.families.containers import (
    Containers,
    Group,
    dtype_of,
    find_containers,
    shape_of,
    tensor_of,
)
from factory.checkpoint.pickles.nodes import (
    Array,
    DType,
    Kind,
    PersistentObject,
    PickledObject,
    Storage,
    TensorView,
    Token,
)
from factory.checkpoint.pickles.source import Budget
from factory.errors import WeightsError

ONE = torch.ones(1)


def budget(**limits):
    return Budget("x.pt", 2**20, **limits)


def view(*size):
    storage = Storage(torch.float32, 4, "0", memoryview(bytes(16)))
    return TensorView(storage, 0, size, (1,) * len(size), "at byte 7")


def routes(found):
    return [group.route for group in find_containers(found, budget()).groups]


def test_dicts_with_tensors_are_found_outer_ones_first():
    inner = {"models": {"G": {"a": ONE}, "D": {"b": ONE}}, "epoch": 3}
    assert routes(inner) == [("models", "G"), ("models", "D")]
    assert routes({"w": ONE, "inner": {"w": ONE}}) == [(), ("inner",)]
    assert routes([{"a": ONE}]) == [("0",)]
    assert find_containers(inner, budget()).keys == ["models", "epoch"]


def test_names_that_are_no_text_or_too_long_name_no_tensor():
    (group,) = find_containers({"a": ONE, 3: ONE, "n" * 513: ONE, "n" * 512: ONE}, budget()).groups
    assert list(group.leaves) == ["a", "n" * 512]


def test_a_dict_that_lies_too_deep_or_occurs_again_is_not_listed():
    nested = {"a": ONE}
    for _ in range(5):
        nested = {"in": nested}
    assert routes(nested) == [("in",) * 5]
    assert routes({"in": nested}) == []
    shared = {"a": ONE}
    assert routes({"first": shared, "second": shared}) == [("first",)]


def test_weights_without_names_are_lists_of_four_tensors_or_more():
    assert find_containers({"G": [view(4)] * 4}, budget()).unnamed == [("G",)]
    assert find_containers({"G": [view(4)] * 3}, budget()).unnamed == []


def test_long_lists_are_records_of_a_training_and_not_searched():
    assert routes({"log": [0] * 9_999 + [{"a": ONE}]}) == [("log", "9999")]
    assert routes({"log": [0] * 10_000 + [{"a": ONE}]}) == []


def test_a_network_that_was_pickled_whole_is_listed_by_its_route():
    network = PersistentObject("Generator", "# source", {})
    found = find_containers({"G_ema": network}, budget())
    assert found.networks == [(("G_ema",), network)]
    token = Token("argparse", "Namespace", Kind.INSTANCE)
    assert routes({"args": PickledObject(token, state={"w": ONE})}) == []
    inside = PickledObject(token, state={"inner": {"w": ONE}})
    assert routes({"args": inside}) == [("args", "inner")]


def test_parts_that_repeat_beyond_the_limit_are_refused():
    with pytest.raises(WeightsError, match="the content repeats the same objects"):
        find_containers({str(number): {"a": ONE} for number in range(9)}, budget(walk=10))


def test_what_lies_beside_a_state_dict_is_taken_from_the_nearest_dict_around_it():
    outer, near, other = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)
    groups = [
        Group((), {"latent_avg": outer, "only": outer}),
        Group(("x",), {"latent_avg": other}),
        Group(("g",), {"latent_avg": near}),
    ]
    found = Containers(groups=groups)
    assert found.beside(("g", "state"), "latent_avg") is near
    assert found.beside(("g", "state"), "only") is outer
    assert found.beside(("h",), "latent_avg") is outer
    assert found.beside(("g",), "absent") is None


def test_shape_and_type_of_a_tensor_are_known_without_a_copy():
    array = Array(shape=(2, 3), dtype=DType("f4"))
    assert [shape_of(leaf) for leaf in (view(2, 2), array, ONE)] == [(2, 2), (2, 3), (1,)]
    assert [dtype_of(leaf) for leaf in (view(4), array, ONE.half())] == [
        "float32", "float32", "float16",
    ]  # fmt: skip
    assert dtype_of(Array()) == "unknown"


def test_a_tensor_is_copied_out_of_the_file_and_counted():
    limits = budget()
    assert torch.equal(tensor_of(view(4), limits), torch.zeros(4))
    assert limits.tensor_bytes == 2**20 - 16
    assert tensor_of(ONE, limits) is ONE
