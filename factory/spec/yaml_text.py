"""Parse and write YAML: the core schema of YAML 1.2, of bounded size, without duplicate keys.

YAML 1.1, which most libraries still read, takes `no` for false, `010` for eight, `12:30` for 750 and
`2024-01-01` for a date; class names would silently become something else. Here a word is a string,
and strings are written so that both versions read them as strings.
"""

import math
import re
from collections.abc import Hashable
from typing import Any, cast

import yaml
from yaml.constructor import ConstructorError

_MOST_CHARACTERS = 2**18
MOST_VALUES = 50_000
"""Values with aliases expanded: the number that validation has to visit. A few aliases of aliases stand
for billions ("billion laughs")."""
DEEPEST = 40
_MOST_DIGITS = 40

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_PATTERNS = {
    "null": (re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    "float": (
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?(?:\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN)$"
        ),
        list("-+.0123456789"),
    ),
    "merge": (re.compile(r"<<$"), ["<"]),
}
"""Tag to what a plain scalar must be to have it, and the characters it can begin with. YAML 1.2.2,
section 10.3.2; of YAML 1.1 only the merge key is kept, which is still in use."""


class _Loader(yaml.SafeLoader):
    """The library's loader with our constructors and resolvers, which are set below."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's signature
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _refusal("a key is a list or a mapping; write a word or a number", key_node)
            if key in seen:
                raise _refusal(f"key {key!r} is written twice; leave one out", key_node)
            seen.add(key)
        return cast("dict[Any, Any]", super().construct_mapping(node, deep=deep))


def _refusal(problem: str, node: yaml.Node) -> ConstructorError:
    return ConstructorError(None, None, problem, node.start_mark)


def _text_of(loader: _Loader, node: yaml.Node, noun: str) -> str:
    """The text of a scalar; it must have the form of a `noun`, even after an explicit tag."""
    text = loader.construct_scalar(cast("yaml.ScalarNode", node))
    if not _PATTERNS[noun][0].fullmatch(text):
        raise _refusal(
            f"found {text[:_MOST_DIGITS]!r} after the tag {node.tag!r}; leave it out", node
        )
    return text


def _null(loader: _Loader, node: yaml.Node) -> None:
    _text_of(loader, node, "null")


def _bool(loader: _Loader, node: yaml.Node) -> bool:
    return _text_of(loader, node, "bool").lower() == "true"


def _int(loader: _Loader, node: yaml.Node) -> int:
    text = _text_of(loader, node, "int")
    if _LEADING_ZERO.fullmatch(text):
        raise _refusal(
            f"found {text[:_MOST_DIGITS]}, which YAML 1.1 reads as octal and 1.2 as decimal; quote it "
            "if it is a name, or leave out the leading 0",
            node,
        )
    if len(text) > _MOST_DIGITS:
        raise _refusal(
            f"found a number of {len(text)} digits; at most {_MOST_DIGITS}; quote it if it is a name",
            node,
        )
    return int(text, 0)


def _float(loader: _Loader, node: yaml.Node) -> float:
    text = _text_of(loader, node, "float").lower()
    value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    if math.isinf(value) and "inf" not in text:
        raise _refusal(f"found {text[:_MOST_DIGITS]}, which is too large for a number", node)
    return value


def _string(loader: _Loader, node: yaml.Node) -> str:
    return loader.construct_scalar(cast("yaml.ScalarNode", node))


def _unknown(_: _Loader, node: yaml.Node) -> None:
    raise _refusal(f"found the tag {node.tag!r}; leave tags out", node)


_Loader.yaml_constructors = {
    f"{_TAG}null": _null,
    f"{_TAG}bool": _bool,
    f"{_TAG}int": _int,
    f"{_TAG}float": _float,
    f"{_TAG}str": _string,
    f"{_TAG}seq": _Loader.construct_yaml_seq,
    f"{_TAG}map": _Loader.construct_yaml_map,
    None: _unknown,
}
_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _PATTERNS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _first)


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - any plain value
    """Parse the one document in `text` into mappings, lists, strings, numbers, booleans and None.

    Raises:
        ValueError: If it is not YAML, holds a key twice, a tag that is not of the core schema or a
            number that two versions of YAML read differently, is too long or too deep, or has too many
            values with its aliases expanded. The message is one line, without the text itself.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"found more than {_MOST_CHARACTERS:,} characters; such a file is shorter")
    try:
        _check_size(text)
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise ValueError(_one_line(error)) from error
    except yaml.reader.ReaderError as error:
        found = f"U+{int(error.character):04X} as character {error.position + 1}"
        raise ValueError(f"not valid YAML: found {found}, a character that YAML forbids") from error


def _one_line(error: yaml.MarkedYAMLError) -> str:
    """Format problem and position, without the line itself, which may contain a secret."""
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
    what = " ".join("; ".join(word for word in (error.context, error.problem) if word).split())
    is_ours = isinstance(error, ConstructorError)
    return f"{where}: {what}" if is_ours else f"not valid YAML: {what} ({where})"


class _Size:
    """Number of values in a node, itself included, and depth of the deepest one."""

    __slots__ = ("anchor", "depth", "values")

    def __init__(self, anchor: str | None = None, values: int = 1, depth: int = 0) -> None:
        self.anchor, self.values, self.depth = anchor, values, depth

    def take_in(self, inner: "_Size") -> None:
        self.values += inner.values
        self.depth = max(self.depth, inner.depth + 1)


def _check_size(text: str) -> None:
    """Refuse documents that are too deep or too large, on the parser's events, before they are built.

    Raises:
        ConstructorError: If it is.
    """
    known: dict[str, _Size] = {}
    outer = [_Size()]
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            outer.append(_Size(event.anchor))
        elif isinstance(event, (yaml.CollectionEndEvent, yaml.ScalarEvent, yaml.AliasEvent)):
            whole = _size_of(event, outer, known)
            outer[-1].take_in(whole)
            if whole.anchor:
                known[whole.anchor] = whole
        if len(outer) + outer[-1].depth > DEEPEST:
            raise _too(f"found lists and mappings more than {DEEPEST} deep", event)
        if outer[-1].values > MOST_VALUES:
            raise _too(f"found more than {MOST_VALUES:,} values, aliases written out", event)


def _size_of(event: yaml.Event, outer: list[_Size], known: dict[str, _Size]) -> _Size:
    """The size of the node that ends with this event."""
    if isinstance(event, yaml.CollectionEndEvent):
        return outer.pop()
    if isinstance(event, yaml.ScalarEvent):
        return _Size(event.anchor)
    assert isinstance(event, yaml.AliasEvent)  # the only other event that stands for a value
    if any(size.anchor == event.anchor for size in outer):
        raise _too(f"found {event.anchor!r}, which stands for something that holds itself", event)
    target = known.get(event.anchor or "", _Size())
    return _Size(None, target.values, target.depth)


def _too(problem: str, event: yaml.Event) -> ConstructorError:
    return ConstructorError(None, None, problem, cast("yaml.Mark", event.start_mark))


class _Dumper(yaml.SafeDumper):
    """Writes a string without quotes only where both versions of YAML read it as a string."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - yaml's signature
        return True


for _name, (_pattern, _first) in _PATTERNS.items():
    _Dumper.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _first)


def dump_yaml(document: object, *, on_one_line: bool = False) -> str:
    """Write plain values as YAML that every version of YAML reads back unchanged.

    Mappings keep their order. `on_one_line` writes brackets and braces instead of indented lines.
    """
    text: str = yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=on_one_line,
        width=10**6 if on_one_line else None,
    )
    return text.removesuffix("\n...\n").rstrip("\n") if on_one_line else text
