"""Every module of some length has a test that names it, so that its tests can be found.

A module is named by a test file that imports it, directly or through the public name that its room
gives it, or that lies beside the tests of its room and is called after it.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST_WITHOUT = 30

NOT_NAMED = {
    "factory.checkpoint.families.biggan",
    "factory.checkpoint.families.choose",
    "factory.checkpoint.families.containers",
    "factory.checkpoint.families.dcgan",
    "factory.checkpoint.families.early_gans",
    "factory.checkpoint.families.rosinality",
    "factory.checkpoint.families.settings",
    "factory.checkpoint.families.stylegan2",
    "factory.checkpoint.families.stylegan3",
    "factory.checkpoint.families.stylegan3_shapes",
    "factory.checkpoint.families.tensorflow",
    "factory.checkpoint.files.content",
    "factory.checkpoint.files.torch_zip",
    "factory.checkpoint.pickles.constructors",
    "factory.checkpoint.pickles.modules",
    "factory.checkpoint.pickles.names",
    "factory.checkpoint.pickles.nodes",
    "factory.checkpoint.pickles.value_stack",
    "factory.evaluate.scores",
    "factory.fit.prototypes",
    "factory.fit.teacher_masks",
    "factory.generate.biggan.ajbrock",
    "factory.generate.biggan.blocks",
    "factory.generate.biggan.deep_hf",
    "factory.generate.early.dcgan",
    "factory.generate.early.growing",
    "factory.generate.early.stylegan1",
    "factory.generate.stylegan2.mapping",
    "factory.generate.stylegan2.mixing",
    "factory.generate.stylegan3.generator",
    "factory.run.ray_service",
    "factory.segment.style_mixing.segmenter",
    "factory.serve.answers",
    "factory.spec.distil",
    "factory.spec.inline",
    "factory.spec.klish",
    "factory.train_generator.judge",
    "factory.train_generator.samples",
    "factory.train_generator.sheets",
}
"""Modules that are only reached through others. An entry goes when its module gets a test."""


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


def test_every_module_is_named_by_a_test_but_for_those_of_old() -> None:
    names = modules()
    long = {n for n, path in names.items() if len(path.read_text().splitlines()) > LONGEST_WITHOUT}
    unnamed = long - named_by_tests(names)
    assert sorted(unnamed - NOT_NAMED) == [], "write tests/unit/ROOM/test_MODULE.py"
    assert sorted(NOT_NAMED - unnamed) == [], "has a test, or is gone: take it off the list"
