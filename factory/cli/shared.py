"""What all commands share: options, one-line errors, JSON output, files, the dataset in question."""

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from factory.errors import FactoryError, Interrupted
from factory.log import start_log
from factory.spec import JobSpec

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def one_line_errors(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Show deliberate errors as a message with their exit code; anything else is a bug, in full.

    Of a command that is called with `--json`, the last line on standard error is the error as JSON.
    """

    @wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        start_log()
        try:
            return command(*args, **kwargs)
        except FactoryError as error:
            prefix = "" if isinstance(error, Interrupted) else "error: "
            as_json = kwargs.get("as_json", False)
            typer.echo(json.dumps(error.facts()) if as_json else f"{prefix}{error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("stopped: run the same command again to resume", err=True)
            raise typer.Exit(Interrupted.exit_code) from error

    return wrapped


Where = Annotated[
    str, typer.Argument(help="Dataset folder, or the job file that makes it.", metavar="DATASET")
]


def load(job: Path) -> JobSpec:
    """The checked job file at `job`."""
    from factory.spec.read import load_job

    return load_job(job)


def open_dataset(dataset: str) -> Any:  # noqa: ANN401 - Store, without importing it at the top
    """The store of a dataset that is named by its place or by its job file."""
    from factory.store import open_store

    if not dataset.endswith((".yaml", ".yml")):
        return open_store(dataset)
    output = load(Path(dataset)).output
    return open_store(output.uri, single_writer=output.single_writer)


def print_json(value: object) -> None:
    """Print `value` for scripts."""
    typer.echo(json.dumps(value, indent=1))


def import_from_here() -> None:
    """Let `module:attribute` plugins lie in the folder the command runs in."""
    if "" not in sys.path:
        sys.path.append("")
