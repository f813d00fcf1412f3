"""The commands that say what a job may hold: `explain`, `generators`, `segmenters` and `schema`."""

import dataclasses
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.shared import AsJson, one_line_errors, print_json, say
from factory.store.single_file import writing_into

if TYPE_CHECKING:
    from factory.spec.explain import Setting

_WIDEST = 100
_INDENT = "    "
_KIND_WIDTH = 20


@one_line_errors
def schema(
    folder: Annotated[Path, typer.Argument(help="Output folder.", metavar="FOLDER")] = Path(
        "schemas"
    ),
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Write the JSON Schemas of all files that this program reads or writes."""
    from factory.cli.schemas import write_schemas

    with writing_into(folder):
        changed = write_schemas(folder)
    if as_json:
        print_json({"output": str(folder), "changed": changed})
        return
    say(f"wrote {', '.join(changed)}" if changed else "all schemas are up to date")


@one_line_errors
def generators(as_json: AsJson = False) -> None:  # noqa: FBT002 - a command line flag
    """List the generators, and the weights that are shipped with this package."""
    from factory.generate import GENERATORS, SHIPPED, WITHOUT_WEIGHTS
    from factory.spec.generators import FAMILY_SETTINGS

    found = []
    for kind in GENERATORS.names():
        family = FAMILY_SETTINGS.get(kind)
        others = WITHOUT_WEIGHTS.get(kind) or GENERATORS.target(kind)
        about = family.__doc__ or "" if family else others
        needs = "a weights file" if family else ""
        found.append({"kind": kind, "about": about, "needs": needs})
    weights = {f"shipped:{name}": file for name, file in SHIPPED.items()}
    if as_json:
        print_json({"generators": found, "weights": weights})
        return
    _print_entries(found)
    for name, file in weights.items():
        say(f"{name:<{_KIND_WIDTH}}weights that come with the package: {file}")


@one_line_errors
def segmenters(as_json: AsJson = False) -> None:  # noqa: FBT002 - a command line flag
    """List the segmenting methods, and what the generator of each needs to have."""
    from factory.segment import SEGMENTERS
    from factory.spec.methods import METHODS, NEEDS
    from factory.spec.segmenters import summarise

    found = []
    for kind in SEGMENTERS.names():
        method = METHODS.get(kind)
        needs = [NEEDS[need] for need in method.needs] if method else []
        about = summarise(kind) or SEGMENTERS.target(kind)
        found.append(
            {
                "kind": kind,
                "about": about,
                "needs": f"a generator with {' and '.join(needs)}" if needs else "",
            }
        )
    if as_json:
        print_json({"segmenters": found})
    else:
        _print_entries(found)


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


def _print_entries(entries: Sequence[Mapping[str, str]]) -> None:
    for entry in entries:
        say(f"{entry['kind']:<{_KIND_WIDTH}}{entry['about']}")
        if entry["needs"]:
            say(f"{'':<{_KIND_WIDTH}}needs {entry['needs']}")
