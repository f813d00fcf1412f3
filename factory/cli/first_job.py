"""The command that writes a first job: `init`."""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.shared import AsJson, duration, import_from_here, one_line_errors, print_json, say


@one_line_errors
def init(
    weights: Annotated[
        str,
        typer.Argument(
            help="Weights file of any supported format, a model folder, or `shipped:NAME`.",
            metavar="WEIGHTS",
        ),
    ] = "shipped:blood_cells",
    output: Annotated[Path, typer.Option("--output", "-o", help="The job file to write.")] = Path(
        "job.yaml"
    ),
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Write a first job for a weights file, with settings that fit it and a comment on each."""
    from factory.care.first_job import write_first_job
    from factory.dataset.own_folder import check_outside

    check_outside(output, "-o")
    import_from_here()
    job = write_first_job(weights, output)
    side = job.resolution_px
    if as_json:
        print_json({"output": str(output), **dataclasses.asdict(job)})
        return
    say(f"wrote {output}: {job.family}, {side} x {side} px, {job.method}")
    if job.fit_s is not None and job.pairs_s is not None:
        say(f"here: the fit takes {duration(job.fit_s)}, the pairs {duration(job.pairs_s)}")
    say(f"next: factory run {shlex.quote(str(output))}")
