"""Shared by all commands: options, one-line errors, JSON output, and loading jobs and datasets."""

import json
import select
import sys
import traceback
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import click
import typer

from factory.cli.memory import explain_address_space
from factory.cli.streams import open_closed_streams, printing
from factory.dataset.options import TRUST_OPTION
from factory.errors import FactoryError, Interrupted, JobError, did_you_mean
from factory.log import start_log
from factory.redact import redact_values, shown

if TYPE_CHECKING:
    from factory.spec import DatasetSpec, JobSpec
    from factory.spec.changes import Changes

JOB_HELP = "Job file (YAML), or `shipped:NAME` for one that comes with the package."

JobFile = Annotated[Path, typer.Argument(help=JOB_HELP, metavar="JOB")]

Once = Annotated[
    str | None,
    typer.Option(
        help="Name of this step of growth, such as a schedule's date: it is planned once, however "
        "often it is run.",
        metavar="KEY",
    ),
]

OutputUri = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", help="Dataset folder or URI, in place of the job's.", metavar="URI"
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]

_OUTPUT = "output.uri"
_NUM_SAMPLES = "dataset.num_samples"

_P = ParamSpec("_P")
_R = TypeVar("_R")


def one_line_errors(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: print a `FactoryError` as one message and exit with its code; others with a traceback.

    With `--json`, the error is printed as one line of JSON on standard error.
    """

    @wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        open_closed_streams()
        start_log()
        try:
            return command(*args, **kwargs)
        except FactoryError as error:
            prefix = "" if isinstance(error, Interrupted) else "error: "
            if kwargs.get("as_json", False):
                print_json(error.facts(), err=True, indent=None)
            else:
                say(f"{prefix}{error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            say("stopped: run the same command again to resume", err=True)
            raise typer.Exit(Interrupted.exit_code) from error
        except (typer.Exit, typer.Abort, click.ClickException):
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _is_unread():
                raise  # whoever read, `head` say, has enough: it ends without a word
            explained = explain_address_space(error)
            trace = "".join(traceback.format_exception(error)).rstrip()
            say(f"error: {explained}" if explained else trace, err=True)
            raise typer.Exit(1) from error

    return wrapped


def _is_unread() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    watched = select.poll()
    watched.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in watched.poll(0))


Where = Annotated[
    str,
    typer.Argument(
        help="Dataset folder or URI, or the job (file, or `shipped:NAME`) that makes it.",
        metavar="DATASET",
    ),
]


TrustPlugins = Annotated[
    bool,
    typer.Option(
        TRUST_OPTION,
        help="Run code (`module:attribute`) that the job in the dataset names. Use it only for code you "
        "know.",
    ),
]


Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="A setting in place of the file's, such as run.num_actors=4; can be repeated.",
        metavar="PATH=VALUE",
    ),
]


def load(job: Path, changes: "Changes | None" = None) -> "JobSpec":
    """Load the job file at `job`, with `changes` to its settings.

    A job that is stored in a dataset is about that dataset, wherever it lies now.

    Raises:
        JobError: If it breaks a rule, or is to grow where it cannot.
        PluginError: If it lies in a dataset and names a `module:attribute`, or a place to run at.
    """
    from factory.dataset.trust import check_stored_job, check_stored_places, is_stored_job
    from factory.spec.read import load_job
    from factory.spec.shipped import find_job_file

    job = find_job_file(job)
    spec = load_job(job, changes.settings if changes else None)
    if is_stored_job(job):
        remedy = "inspect that code, then use a copy of the job outside of the dataset"
        check_stored_job(spec.model_dump(mode="json"), str(job), remedy=remedy)
        check_stored_places(spec.run, str(job))
        return _where_it_lies(spec, job, changes.settings if changes else ())
    return spec


def _where_it_lies(spec: "JobSpec", job: Path, given: Collection[str]) -> "JobSpec":
    """A stored job, about the dataset that it lies in: neither of its paths to a dataset is believed.

    Args:
        spec: The job.
        job: Its file.
        given: Paths of the settings that the command line gives: they stay as they are.
    """
    update: dict[str, Any] = {"beside": str(job.parent)}
    if not {"output", _OUTPUT} & set(given):
        update["output"] = spec.output.model_copy(update={"uri": str(job.parent)})
    if not {"dataset", _NUM_SAMPLES} & set(given):
        update["dataset"] = _as_grown(spec.dataset, job.parent)
    return spec.model_copy(update=update)


def _as_grown(dataset: "DatasetSpec", folder: Path) -> "DatasetSpec":
    """`dataset` with as many samples as are planned in `folder`, if it has grown since it began."""
    from factory.dataset.state import find_rounds
    from factory.plan.rounds import plain_samples
    from factory.store import LocalStore

    planned = plain_samples(find_rounds(LocalStore(str(folder))))
    return dataset.model_copy(update={"num_samples": max(planned, dataset.num_samples)})


def changes_with_output(changes: "Changes", output: str | None) -> "Changes":
    """`changes`, and the dataset goes to `output` if it is given.

    Raises:
        JobError: If both say where it goes.
    """
    if output is None:
        return changes
    twice = next((path for path in changes.settings if path in ("output", _OUTPUT)), None)
    if twice is not None:
        raise JobError(where="-o", found=f"--set {twice} says where the dataset goes, too")
    return replace(changes, settings={**changes.settings, _OUTPUT: output})


def find_store(dataset: str) -> Any:  # noqa: ANN401 - Store, without importing it at the top
    """Open the store of a dataset, given as its folder or URI, or as its job file."""
    from factory.spec.shipped import SHIPPED_PREFIX
    from factory.store import open_store

    if not dataset.endswith((".yaml", ".yml")) and not dataset.startswith(SHIPPED_PREFIX):
        return open_store(dataset)
    output = load(Path(dataset)).output
    return open_store(output.uri, single_writer=output.single_writer)


def say(text: str, *, err: bool = False) -> None:
    """Print `text`, with control characters escaped: names in it may come from untrusted files."""
    with printing(err=err):
        typer.echo(shown(text), err=err)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = round(seconds)
    for unit, inner, size in (("d", "h", 86400), ("h", "min", 3600), ("min", "s", 60)):
        if whole >= size:
            more = whole % size // {"h": 3600, "min": 60, "s": 1}[inner]
            return f"{whole // size:,} {unit}" + (f" {more} {inner}" if more else "")
    return f"{whole} s"


def print_json(value: object, *, err: bool = False, indent: int | None = 1) -> None:
    """Print `value` as JSON, without secrets."""
    with printing(err=err):
        typer.echo(json.dumps(redact_values(value), indent=indent), err=err)


def check_choice(value: str, choices: Collection[str], where: str) -> None:
    """Require that an argument is one of `choices`; `where` names it on the command line.

    Raises:
        JobError: If it is not.
    """
    if value not in choices:
        raise JobError(
            where=where,
            found=f"found {value!r}",
            allowed=f"one of {', '.join(choices)}",
            remedy=did_you_mean(value, choices),
        )


def refuse_json_of_page(answers: str) -> NoReturn:
    """Refuse `--json` for a page, which answers on itself; `answers` = what would print JSON.

    Raises:
        JobError: In every case.
    """
    raise JobError(
        where="--json",
        found="found without anything to answer: the page opens in a browser",
        remedy=f"leave it out; {answers} prints JSON",
    )


def import_from_here() -> None:
    """Make `module:attribute` plugins importable from the working folder."""
    if "" not in sys.path:
        sys.path.append("")
