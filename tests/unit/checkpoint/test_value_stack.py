"""The unpickler's stack keeps its limits: depth, number of objects, marks, memo, and keys."""

import pytest

from factory.checkpoint.pickles import value_stack
from factory.checkpoint.pickles.nodes import Kind, OpaqueObject, PickledObject, PickledSet, Token
from factory.checkpoint.pickles.source import Budget, Stream
from factory.checkpoint.pickles.value_stack import ValueStack
from factory.errors import WeightsError

TOKEN = Token("torch.optim.adam", "Adam", Kind.OPAQUE)


@pytest.fixture
def stack():
    return ValueStack(Stream(memoryview(b""), "x.pkl"), Budget("x.pkl", 0))


def test_two_values_come_back_in_the_order_they_were_pushed(stack):
    stack.push(1, 0)
    stack.push(2, 0)
    assert stack.pop_two() == [1, 2]
    assert stack.stack == []


def test_a_mark_separates_groups_of_values(stack):
    stack.push("below", 0)
    stack.mark()
    stack.push(1, 0)
    stack.mark()
    stack.push(2, 0)
    assert stack.pop_mark() == [2]
    assert stack.pop_mark() == [1]
    assert stack.stack == ["below"]


def test_a_container_is_one_deeper_than_its_deepest_member(stack):
    stack.put_tuple([])
    stack.put_tuple([stack.stack[-1], 3])
    stack.push([], 1)
    target = stack.stack[-1]
    assert stack.depth(target) == 1
    stack.append([stack.stack[1]])
    assert stack.depth(target) == 3
    stack.append([7])
    assert stack.depth(target) == 3
    assert stack.depth("text") == 0


def test_nesting_ends_at_two_hundred_levels(stack):
    stack.put_tuple([])
    for _ in range(199):
        stack.put_short_tuple(1)
    with pytest.raises(WeightsError, match="nested too deep at byte 0; 200 levels"):
        stack.put_short_tuple(1)


def test_filling_a_container_later_does_not_evade_the_limit(stack):
    stack.push([], 1)
    outer = stack.stack[-1]
    stack.put_tuple([])
    for _ in range(199):
        stack.put_short_tuple(1)
    deepest = stack.stack.pop()
    assert stack.stack == [outer]
    with pytest.raises(WeightsError, match="nested too deep"):
        stack.append([deepest])


def test_objects_marks_and_memo_are_counted(stack, monkeypatch):
    stack.budget.nodes = 1
    stack.push("a", 0)
    with pytest.raises(WeightsError, match="object number 500001"):
        stack.push("b", 0)
    for _ in range(200):
        stack.mark()
    with pytest.raises(WeightsError, match="mark number 201"):
        stack.mark()
    monkeypatch.setattr(value_stack, "MAX_NODES", 1)
    stack.stack.append("c")
    stack.put_memo(5)
    with pytest.raises(WeightsError, match="memo entry number 2"):
        stack.put_memo(6)


def test_the_memo_gives_what_was_put_and_nothing_else(stack):
    stack.push([], 1)
    stack.put_memo(3)
    stack.get_memo(3)
    assert stack.stack[0] is stack.stack[1]
    with pytest.raises(WeightsError, match="memo entry 4, which was never stored"):
        stack.get_memo(4)


def test_a_short_tuple_of_more_values_than_there_are_is_an_error_of_the_index(stack):
    stack.push(1, 0)
    with pytest.raises(IndexError):
        stack.put_short_tuple(2)


def test_only_lists_sets_and_dicts_are_filled(stack):
    for value, fill in (({}, stack.append), ([], stack.add_items), ([], stack.set_items)):
        stack.push(value, 1)
        with pytest.raises(WeightsError, match="something that is no"):
            fill([1, 2])
    stack.push({}, 1)
    with pytest.raises(WeightsError, match="SETITEM"):
        stack.set_items(["key without value"])


def test_members_arrive_where_they_belong(stack):
    filled, items = PickledSet([1]), PickledObject(TOKEN)
    stack.push(filled, 1)
    stack.add_items([2])
    assert filled.members == [1, 2]
    stack.push(items, 1)
    stack.set_items(["a", 1, "b", 2])
    assert items.items == {"a": 1, "b": 2}


def test_an_object_that_is_not_interpreted_swallows_what_it_is_given(stack):
    opaque = OpaqueObject(TOKEN, ())
    stack.push(opaque, 1)
    stack.append([1])
    stack.add_items([1])
    stack.set_items(["a", 1])
    assert (opaque.args, opaque.state) == ((), None)


@pytest.mark.parametrize("key", ["a", 3, True, None, TOKEN, -(2**31)])
def test_usual_keys_are_allowed(stack, key):
    stack.check_key(key)


@pytest.mark.parametrize("key", [1.5, (1, 2), b"a", 2**64, -(2**63) - 1])
def test_other_keys_are_refused(stack, key):
    with pytest.raises(WeightsError, match=r" as a key| as keys"):
        stack.check_key(key)


def test_large_numbers_that_could_be_chosen_to_collide_are_few(stack):
    for number in range(10_000):
        stack.check_key(2**40 + number)
    with pytest.raises(WeightsError, match="too many or too large numbers as keys"):
        stack.check_key(2**40)
