"""The commands that work on a job file: `plan`, `fit` and `run`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from factory.cli import label as cli_label
from factory.cli.memory import check_address_space
from factory.cli.shared import (
    AsJson,
    import_from_here,
    load,
    one_line_errors,
    print_json,
    say,
)
from factory.store.single_file import replace_file

JobFile = Annotated[Path, typer.Argument(help="Job file (YAML).", metavar="JOB")]


@one_line_errors
def plan(job: JobFile, as_json: AsJson = False) -> None:  # noqa: FBT002 - a command line flag
    """Dry run: print shards, bytes, time and warnings. Writes nothing."""
    from factory.run.estimate import estimate_job

    import_from_here()
    estimate = estimate_job(load(job))
    if as_json:
        print_json(dataclasses.asdict(estimate))
        return
    side = estimate.resolution_px
    size = estimate.bytes_in_all
    seconds = estimate.seconds_left
    rows = {
        "dataset": estimate.name,
        "output": estimate.output_uri,
        "pairs": f"{estimate.num_samples:,} ({estimate.num_done:,} made)",
        "shards": f"{estimate.num_shards:,}",
        "image": f"{side} x {side} px" if side else "unknown",
        "size": f"{size / 1e6:,.1f} MB" if size else "unknown",
        "workers": f"{estimate.num_actors}",
        "time left": f"{seconds:,.0f} s" if seconds is not None else "unknown",
    }
    if estimate.accepted_share is not None and estimate.accepted_share < 1:
        rows["accepted"] = f"{estimate.accepted_share:.0%} of the tried samples"
    if estimate.seconds_per_pair is not None and estimate.passes_per_pair not in (None, 1):
        passes = f"{estimate.passes_per_pair:.3g} forward passes"
        rows["a pair"] = f"{passes}, {estimate.seconds_per_pair:.3g} s of a worker"
    if estimate.search_bytes:
        rows["search"] = f"{estimate.search_bytes / 1e6:,.1f} MB in each worker"
    for name, value in rows.items():
        say(f"{name:<10}{value}")
    for warning in estimate.warnings:
        say(f"warning   {warning}")


@one_line_errors
def fit(
    job: JobFile,
    output: Annotated[
        Path | None, typer.Option("-o", help="Also write the segmenter file here.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html and report.png, which show all cuts, or what a search found."
        ),
    ] = None,
) -> None:
    """Fit the job's segmenter and cache it for `run`."""
    from factory.segment.methods import find_doubts

    spec = load(job)
    import_from_here()
    if report is not None:
        cli_label.check_has_report(spec, source=str(job))
    found = cli_label.find_or_fit(spec)
    if found.is_new:
        say(f"fitted {spec.dataset.segmenter.kind}")
    else:
        say(f"{spec.dataset.segmenter.kind} was fitted before: taken from the cache")
    if output is not None:
        replace_file(output, found.fitted)
        say(f"wrote {output}")
    if report is not None:
        cli_label.write_report(spec, found, report)
    for doubt in find_doubts(spec.dataset.segmenter, found.fitted):  # last: there it is read
        say(f"warning   {doubt}")


@one_line_errors
def run(job: JobFile) -> None:
    """Make the dataset, or its missing shards. Run it again to resume."""
    check_address_space()
    from factory.job import run_job
    from factory.manifest.paths import CARD_PICTURE
    from factory.run.progress import progress_reporter
    from factory.run.worker import configure_process

    spec = load(job)
    import_from_here()
    configure_process()
    with progress_reporter() as observer:
        manifest = run_job(spec, observer)
    short = manifest.num_planned - manifest.num_samples
    say(
        f"{manifest.num_samples:,} pairs in {len(manifest.records):,} shards: {spec.output.uri}"
        f" (see {spec.output.uri.rstrip('/')}/{CARD_PICTURE})"
    )
    if short:
        say(
            f"warning: {short:,} fewer than asked for, because samples were rejected; "
            "see `factory status`, then raise dataset.num_samples",
            err=True,
        )
