"""The commands that say what a job may hold: `explain`, `generators`, `segmenters` and `schema`."""

import dataclasses
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.shared import AsJson, one_line_errors, print_json, say
from factory.store.single_file import writing_into

if TYPE_CHECKING:
    from factory.spec.explain import Setting

_WIDEST = 100
_INDENT = "    "


@one_line_errors
def schema(
    folder: Annotated[Path, typer.Argument(help="Output folder.")] = Path("schemas"),
) -> None:
    """Write the JSON Schemas of all files that this program reads or writes."""
    from factory.cli.schemas import write_schemas

    with writing_into(folder):
        changed = write_schemas(folder)
    say(f"wrote {', '.join(changed)}" if changed else "all schemas are up to date")


@one_line_errors
def generators() -> None:
    """List the generators, and the weights that are shipped with this package."""
    from factory.generate import GENERATORS, SHIPPED

    _print_names(GENERATORS.names(), GENERATORS.target)
    for name, file in SHIPPED.items():
        say(f"{'shipped:' + name:<20}{file}")


@one_line_errors
def segmenters() -> None:
    """List the segmenting methods."""
    from factory.segment import SEGMENTERS
    from factory.spec.segmenters import summarise

    _print_names(SEGMENTERS.names(), lambda kind: summarise(kind) or SEGMENTERS.target(kind))


@one_line_errors
def explain(
    name: Annotated[
        str,
        typer.Argument(
            help="A section or setting (`dataset.latents`), a method or a generator family (`klish`), "
            "or one of its settings (`klish.cut`). Empty: the whole job.",
            metavar="NAME",
        ),
    ] = "",
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Explain what a job file may hold: settings, allowed values, defaults."""
    from factory.spec.explain import explain as find_explanation

    found = find_explanation(name)
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    about = " ".join(found.text.split())
    is_one = [setting.text for setting in found.settings] == [about]
    say(found.path if is_one else f"{found.path or 'a job'}: {about}")
    for kind, text in found.choices.items():
        say(f"{_INDENT}kind: {kind:<16}{text}")
    for setting in found.settings:
        say("")
        _print_setting(setting)
    sections = [setting.name for setting in found.settings if setting.has_more]
    if sections or found.choices:
        first = sections[0] if sections else next(iter(found.choices))
        say("")
        under = name if sections else ""
        say(f"more: factory explain {'.'.join(filter(None, [under, first]))}")


def _print_setting(setting: "Setting") -> None:
    default = (
        setting.default if setting.default in ("required", "") else f"default {setting.default}"
    )
    say(f"{setting.name}: {setting.values}" + (f" ({default})" if default else ""))
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    for line in textwrap.wrap(setting.text, max(width, 40) - len(_INDENT)):
        say(_INDENT + line)


def _print_names(names: list[str], target: Callable[[str], str]) -> None:
    for name in names:
        say(f"{name:<20}{target(name)}")
