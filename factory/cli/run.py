"""The commands that make pairs: `run` by a job, and `grow` by the job that a dataset holds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory.cli.job import show_plan
from factory.cli.memory import check_address_space
from factory.cli.shared import (
    AsJson,
    JobFile,
    Once,
    OutputUri,
    Settings,
    TrustPlugins,
    changes_with_output,
    import_from_here,
    load,
    one_line_errors,
    print_json,
    say,
)
from factory.errors import JobError
from factory.manifest.paths import CARD_PICTURE, README_PATH

if TYPE_CHECKING:
    from factory.manifest.records import Manifest
    from factory.spec import JobSpec

_MOST_WARNINGS = 6

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only print what would be done, as `plan` does.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print warnings and errors only.")]


@one_line_errors
def run(
    job: JobFile,
    settings: Settings = [],  # noqa: B006 - typer makes a new one
    once: Once = None,
    output: OutputUri = None,
    dry_run: DryRun = False,  # noqa: FBT002 - a command line flag
    quiet: Quiet = False,  # noqa: FBT002 - a command line flag
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Make the dataset, or its missing shards. Run it again to resume.

    With --set dataset.num_samples=+1000 the dataset grows by that step.
    """
    check_address_space()
    from factory.spec.changes import read_changes

    changes = changes_with_output(read_changes(settings), output)
    spec = load(job, changes)
    if dry_run:
        show_plan(spec, changes.add, once, as_json=as_json)
    _run(spec, changes.add, once, Telling(quiet, as_json))


@one_line_errors
def grow(
    dataset: Annotated[str, typer.Argument(help="Dataset folder or URI.", metavar="DATASET")],
    step: Annotated[str, typer.Argument(help="Samples to add, such as +1000.", metavar="+N")],
    once: Once = None,
    settings: Settings = [],  # noqa: B006 - typer makes a new one
    trust_plugins: TrustPlugins = False,  # noqa: FBT002 - a command line flag
    quiet: Quiet = False,  # noqa: FBT002 - a command line flag
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Add samples to a dataset, by the job that is stored in it.

    Where it runs is not the stored job's matter: add --set run.address=auto and the like.
    """
    from factory.dataset.growing import job_to_grow
    from factory.spec.changes import read_changes
    from factory.store import open_store

    check_address_space()
    if not re.fullmatch(r"\+?[0-9]{1,12}", step):
        raise JobError(where="+N", found=f"found {step!r}", allowed="a number such as +1000")
    changes = read_changes(settings)
    if changes.add is not None or "dataset.num_samples" in changes.settings:
        raise JobError(
            "--set dataset.num_samples: +N beside the dataset says by how much it grows; leave it out"
        )
    spec = job_to_grow(open_store(dataset), changes.settings, trust_plugins=trust_plugins)
    _run(spec, int(step), once, Telling(quiet, as_json))


@dataclass(frozen=True, slots=True)
class Telling:
    """How much a command says, and in which form."""

    is_quiet: bool
    """Nothing but warnings and errors."""
    as_json: bool
    """Its answer is one JSON object."""


def _run(spec: "JobSpec", add: int | None, once: str | None, telling: Telling) -> None:
    from factory.job import run_job
    from factory.log import start_log
    from factory.run.progress import progress_reporter
    from factory.run.worker import configure_process

    import_from_here()
    configure_process()
    if telling.is_quiet:
        start_log("WARNING")
    with progress_reporter(progress=not telling.is_quiet) as observer:
        manifest = run_job(spec, observer, add=add, once=once)
    short = manifest.num_planned - manifest.num_samples
    is_rejected = manifest.totals.is_rejected
    warnings = list(manifest.meaning.doubts)
    if short and is_rejected:
        warnings.append(
            f"{short:,} fewer than asked for, because samples were rejected; "
            "see `factory status`, then raise dataset.num_samples"
        )
    if telling.as_json:
        print_json(_answer(spec, manifest) | {"warnings": warnings})
        return
    if not telling.is_quiet:
        say(
            f"{manifest.num_samples:,} pairs in {len(manifest.records):,} shards: {spec.output.uri}"
            f" (see {spec.output.uri.rstrip('/')}/{CARD_PICTURE})"
        )
    if short and not is_rejected and not telling.is_quiet:
        say(f"{short:,} more are planned: another run has added a step meanwhile, and makes them")
    _warn(warnings, spec.output.uri)


def _warn(warnings: Sequence[str], uri: str) -> None:
    """Print the last warnings, and where the others are."""
    left_out = len(warnings) - _MOST_WARNINGS
    if left_out > 0:
        say(f"warning: {left_out} more than these: {uri.rstrip('/')}/{README_PATH}", err=True)
    for warning in warnings[-_MOST_WARNINGS:]:
        say(f"warning: {warning}", err=True)


def _answer(spec: "JobSpec", manifest: "Manifest") -> dict[str, Any]:
    """What a run made, as JSON values."""
    return {
        "output": spec.output.uri,
        "dataset_id": manifest.dataset_id,
        "samples": manifest.num_samples,
        "samples_planned": manifest.num_planned,
        "shards": len(manifest.records),
        "bytes": manifest.totals.size_bytes,
    }
