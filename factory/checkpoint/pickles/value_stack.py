"""The unpickler's stack, marks and memo, with their limits.

Nesting depth is tracked as containers are filled: a tuple of two million levels parses quickly and then
overflows the stack of every program that traverses it.
"""

from typing import Any, NoReturn

from factory.checkpoint.pickles.nodes import (
    OpaqueObject,
    PersistentObject,
    PickledObject,
    PickledSet,
    Token,
)
from factory.checkpoint.pickles.source import (
    DISTRUST,
    MAX_DEPTH,
    MAX_MARKS,
    MAX_NODES,
    SAVE_ALONE,
    Budget,
    Stream,
)

_CONTAINERS = (list, dict, tuple, PickledSet, PersistentObject, PickledObject, OpaqueObject)
_MOST_LARGE_KEYS = 10_000


class ValueStack:
    """Stack, marks and memo of one run."""

    def __init__(self, stream: Stream, budget: Budget) -> None:
        """Start empty; errors name `stream`, objects are counted against `budget`."""
        self.stream, self.budget = stream, budget
        self.at = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self._depths: dict[int, int] = {}
        self._large_keys = 0

    def refuse(self, found: str, allowed: str, remedy: str = DISTRUST) -> NoReturn:
        """Reject the file because of `found` at the current opcode.

        Raises:
            WeightsError: Always.
        """
        self.stream.refuse(found, self.at, allowed, remedy)

    def push(self, value: object, depth: int) -> None:
        """Push a new object of nesting depth `depth`."""
        self.budget.nodes -= 1
        if self.budget.nodes < 0:
            self.refuse(f"object number {MAX_NODES + 1}", f"{MAX_NODES} are allowed")
        self._deepen(value, depth)
        self.stack.append(value)

    def depth(self, value: object) -> int:
        """Nesting depth of `value`; 0 if it is no container."""
        # Keyed by id(): a freed container's entry is always overwritten by the new one at its address.
        return self._depths.get(id(value), 0) if isinstance(value, _CONTAINERS) else 0

    def note_members(self, target: object, members: list[Any]) -> None:
        """Update the depth of `target`, which now contains `members`."""
        deepest = 1 + max((self.depth(member) for member in members), default=0)
        if deepest > self.depth(target):
            self._deepen(target, deepest)

    def _deepen(self, value: object, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.refuse("a container nested too deep", f"{MAX_DEPTH} levels are allowed")
        if isinstance(value, _CONTAINERS):
            self._depths[id(value)] = depth

    def mark(self) -> None:
        """Push a mark: begin a group of values."""
        if len(self.below) >= MAX_MARKS:
            self.refuse(f"mark number {MAX_MARKS + 1}", f"{MAX_MARKS} may be open")
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Pop all values above the last mark."""
        members, self.stack = self.stack, self.below.pop()
        return members

    def pop_two(self) -> list[Any]:
        """Pop two values, in the order in which they were pushed."""
        second = self.stack.pop()
        return [self.stack.pop(), second]

    def put_tuple(self, members: list[Any]) -> None:
        """Push a tuple of `members`."""
        depth = 1 + max((self.depth(member) for member in members), default=0)
        self.push(tuple(members), depth)

    def put_short_tuple(self, count: int) -> None:
        """Replace the last `count` values by a tuple of them."""
        if len(self.stack) < count:
            raise IndexError
        members = self.stack[-count:]
        del self.stack[-count:]
        self.put_tuple(members)

    def append(self, members: list[Any]) -> None:
        """Extend the list on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(members)
        elif not isinstance(target, OpaqueObject):
            self.refuse("APPEND to something that is no list", "only lists are appended to")
        self.note_members(target, members)

    def add_items(self, members: list[Any]) -> None:
        """Extend the set on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, PickledSet):
            target.members.extend(members)
        elif not isinstance(target, OpaqueObject):
            self.refuse("ADDITEMS to something that is no set", "only sets are added to")
        self.note_members(target, members)

    def set_items(self, members: list[Any]) -> None:
        """Set keys and values of the dict on top of the stack."""
        target = self.stack[-1]
        items = target.items if isinstance(target, PickledObject) else target
        if len(members) % 2 or not isinstance(items, dict | OpaqueObject):
            self.refuse("SETITEM on something that is no dict", "only dicts have items")
        if isinstance(items, dict):
            for key in members[::2]:
                self.check_key(key)
            items.update(zip(members[::2], members[1::2], strict=True))
        self.note_members(target, members)

    def check_key(self, key: object) -> None:
        """Reject keys that are expensive to hash, or that could be chosen to collide."""
        if type(key) is int and not -(2**31) <= key < 2**31:
            # The hash of an integer is predictable (its value modulo 2^61 - 1), so that a file could
            # choose large ones to fill one slot of the hash table; honest files have a few.
            self._large_keys += 1
            if self._large_keys > _MOST_LARGE_KEYS or not -(2**63) <= key < 2**64:
                self.refuse("too many or too large numbers as keys", "keys are mostly names")
        elif key is not None and type(key) not in (str, int, bool, Token, OpaqueObject):
            found = f"a {type(key).__name__} as a key"
            self.refuse(found, "keys are texts, integers, booleans or None", SAVE_ALONE)

    def put_memo(self, index: int) -> None:
        """Store the top of the stack in the memo under `index`."""
        if len(self.memo) >= MAX_NODES:
            self.refuse(f"memo entry number {MAX_NODES + 1}", f"{MAX_NODES} are allowed")
        self.memo[index] = self.stack[-1]

    def get_memo(self, index: int) -> None:
        """Push the memo entry `index`."""
        if index not in self.memo:
            self.refuse(f"memo entry {index}, which was never stored,", "entries are stored first")
        self.stack.append(self.memo[index])
