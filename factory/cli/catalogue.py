"""The commands that list plugins and write schemas: `generators`, `segmenters` and `schema`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.shared import one_line_errors, say
from factory.store.single_file import writing_into


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


def _print_names(names: list[str], target: Callable[[str], str]) -> None:
    for name in names:
        say(f"{name:<20}{target(name)}")
