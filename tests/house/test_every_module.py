"""Every module of some length has a test that names it, so that its tests can be found.

A module is named by a test file that imports it, directly or through the public name that its room
gives it, or that lies beside the tests of its room and is called after it.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST_WITHOUT = 30

NOT_NAMED = {
    "factory.evaluate.scores": "types of results; test_masks.py and test_metrics.py compute them",
    "factory.generate.biggan.ajbrock": "a plugin around a network; test_family_plugins.py runs it",
    "factory.generate.biggan.deep_hf": "a plugin around a network; test_family_plugins.py runs it",
    "factory.generate.early.dcgan": "a plugin around a network; test_family_plugins.py runs it",
    "factory.generate.early.stylegan1": "a plugin around a network; test_family_plugins.py runs it",
    "factory.generate.stylegan3.generator": "a plugin around a network; test_family_plugins.py runs it",
    "factory.serve.answers": "types of answers; test_app.py holds each against the OpenAPI document",
}
"""Modules that are only reached through others, and why that suffices."""


def modules() -> dict[str, Path]:
    files = (ROOT / "factory").rglob("*.py")
    dotted = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}
    return {name.removesuffix(".__init__"): path for name, path in dotted.items()}


def imported_by(path: Path) -> set[str]:
    """Modules and dotted names of ours that a file imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("factory")}


def behind(imported: set[str], names: dict[str, Path], doors: dict[str, str]) -> set[str]:
    """The modules that a test reaches by the public names of their rooms."""
    found = {doors[name] for name in imported if name in doors}
    if "factory.cli.app.app" in imported:  # every command is called through it
        found |= imported_by(names["factory.cli.app"])
    return found


def names_handed_out(names: dict[str, Path]) -> dict[str, str]:
    """The module behind each name that a room hands out."""
    return {
        f"{room}.{alias.asname or alias.name}": node.module
        for room, path in names.items()
        if path.name == "__init__.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def named_by_tests(names: dict[str, Path]) -> set[str]:
    found, doors = set(), names_handed_out(names)
    for path in (ROOT / "tests").rglob("test_*.py"):
        imported = imported_by(path)
        found |= imported | behind(imported, names, doors)
    for name in names:
        room, _, module = name.removeprefix("factory").rpartition(".")
        beside = ROOT / "tests/unit" / room.strip(".").split(".")[0] / f"test_{module}.py"
        if beside.exists():
            found.add(name)
    return found


def test_every_module_is_named_by_a_test_but_for_those_with_a_reason() -> None:
    names = modules()
    long = {n for n, path in names.items() if len(path.read_text().splitlines()) > LONGEST_WITHOUT}
    unnamed = long - named_by_tests(names)
    assert sorted(unnamed - NOT_NAMED.keys()) == [], "write tests/unit/ROOM/test_MODULE.py"
    assert sorted(NOT_NAMED.keys() - unnamed) == [], "has a test, or is gone: take it off the list"
