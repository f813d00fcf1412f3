"""Where the pickle machine keeps its values: stack, marks and memo, with their limits.

How deep containers nest is tracked as they are filled, because a tuple of two million levels parses
quickly and then ends every program that walks it.
"""

from typing import Any, NoReturn

from factory.checkpoint.pickles.nodes import Instance, Opaque, PickledSet, Record
from factory.checkpoint.pickles.source import (
    DISTRUST,
    MAX_DEPTH,
    MAX_MARKS,
    MAX_NODES,
    Budget,
    Stream,
)

_CONTAINERS = (list, dict, tuple, PickledSet, Record, Instance, Opaque)
_MOST_LARGE_KEYS = 10_000


class ValueStore:
    """The values of one run."""

    def __init__(self, stream: Stream, budget: Budget) -> None:
        """Start empty; refusals are about `stream`, objects are charged to `budget`."""
        self.stream, self.budget = stream, budget
        self.at = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self._depths: dict[int, int] = {}
        self._large_keys = 0

    def refuse(self, found: str, allowed: str, remedy: str = DISTRUST) -> NoReturn:
        """Stop reading because of `found` at the current opcode.

        Raises:
            WeightsError: Always.
        """
        self.stream.refuse(found, self.at, allowed, remedy)

    def push(self, value: object, depth: int) -> None:
        """Put a new object of nesting depth `depth` on the stack."""
        self.budget.nodes -= 1
        if self.budget.nodes < 0:
            self.refuse(f"object number {MAX_NODES + 1}", f"{MAX_NODES} are allowed")
        self._deepen(value, depth)
        self.stack.append(value)

    def depth(self, value: object) -> int:
        """How deep `value` nests; 0 for what is no container."""
        # Keyed by identity: a new container always overwrites what a freed one left behind.
        return self._depths.get(id(value), 0) if isinstance(value, _CONTAINERS) else 0

    def grow(self, target: object, members: list[Any]) -> None:
        """Note that `target` now holds `members`."""
        deepest = 1 + max((self.depth(member) for member in members), default=0)
        if deepest > self.depth(target):
            self._deepen(target, deepest)

    def _deepen(self, value: object, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.refuse("a container nested too deep", f"{MAX_DEPTH} levels are allowed")
        if isinstance(value, _CONTAINERS):
            self._depths[id(value)] = depth

    def mark(self) -> None:
        """Begin a group of values."""
        if len(self.below) >= MAX_MARKS:
            self.refuse(f"mark number {MAX_MARKS + 1}", f"{MAX_MARKS} may be open")
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """The group that began last, which ends here."""
        members, self.stack = self.stack, self.below.pop()
        return members

    def pop_two(self) -> list[Any]:
        """The two last values, in their order."""
        second = self.stack.pop()
        return [self.stack.pop(), second]

    def put_tuple(self, members: list[Any]) -> None:
        """Put a tuple on the stack."""
        depth = 1 + max((self.depth(member) for member in members), default=0)
        self.push(tuple(members), depth)

    def put_short_tuple(self, count: int) -> None:
        """Put a tuple of the last `count` values on the stack."""
        if len(self.stack) < count:
            raise IndexError
        members = self.stack[-count:]
        del self.stack[-count:]
        self.put_tuple(members)

    def append(self, members: list[Any]) -> None:
        """Add to the list below."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(members)
        elif not isinstance(target, Opaque):
            self.refuse("APPEND to something that is no list", "only lists are appended to")
        self.grow(target, members)

    def add_items(self, members: list[Any]) -> None:
        """Add to the set below."""
        target = self.stack[-1]
        if not isinstance(target, PickledSet):
            self.refuse("ADDITEMS to something that is no set", "only sets are added to")
        target.members.extend(members)
        self.grow(target, members)

    def set_items(self, members: list[Any]) -> None:
        """Set keys and values of the dict below."""
        target = self.stack[-1]
        items = target.items if isinstance(target, Instance) else target
        if len(members) % 2 or not isinstance(items, dict | Opaque):
            self.refuse("SETITEM on something that is no dict", "only dicts have items")
        if isinstance(items, dict):
            for key in members[::2]:
                self.check_key(key)
            items.update(zip(members[::2], members[1::2], strict=True))
        self.grow(target, members)

    def check_key(self, key: object) -> None:
        """Refuse keys that cost more to hash than a name does."""
        if type(key) is int and not -(2**31) <= key < 2**31:
            self._large_keys += 1  # they could be chosen to collide in the hash table
            if self._large_keys > _MOST_LARGE_KEYS or not -(2**63) <= key < 2**64:
                self.refuse("too many or too large numbers as keys", "keys are mostly names")
        elif key is not None and type(key) not in (str, int, bool):
            found = f"a {type(key).__name__} as a key"
            self.refuse(found, "keys are texts, integers, booleans or None")

    def remember(self, index: int) -> None:
        """Store the last value under `index`."""
        if len(self.memo) >= MAX_NODES:
            self.refuse(f"memo entry number {MAX_NODES + 1}", f"{MAX_NODES} are allowed")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        """Put what was stored under `index` on the stack."""
        if index not in self.memo:
            self.refuse(f"memo entry {index}, which was never stored,", "entries are stored first")
        self.stack.append(self.memo[index])
