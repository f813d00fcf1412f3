"""The commands that prepare a run: `plan`, and `fit`."""

import dataclasses
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from factory.cli import label as cli_label
from factory.cli.shared import (
    AsJson,
    JobFile,
    Once,
    OutputUri,
    Settings,
    changes_with_output,
    duration,
    import_from_here,
    load,
    one_line_errors,
    print_json,
    say,
)
from factory.errors import JobError
from factory.store.single_file import replace_file

if TYPE_CHECKING:
    from factory.run.estimate import Estimate
    from factory.run.price import Cost, Prices
    from factory.spec import JobSpec


@one_line_errors
def plan(
    job: JobFile,
    settings: Settings = [],  # noqa: B006 - typer makes a new one
    once: Once = None,
    output: OutputUri = None,
    price: Annotated[
        list[str],
        typer.Option(
            help="Also print costs at these prices: gpu_hour, cpu_hour, gb_month, put_1000.",
            metavar="NAME=PRICE,...",
        ),
    ] = [],  # noqa: B006 - typer makes a new one
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Dry run: print shards, bytes, time and warnings. Writes nothing.

    What the job needs and is not here is listed, and the exit code is then that of a run.
    """
    from factory.run.price import read_prices
    from factory.spec.changes import read_changes

    changes = read_changes(settings)
    prices = read_prices(price) if price else None
    spec = load(job, changes_with_output(changes, output))
    show_plan(spec, changes.add, once, prices, as_json=as_json)


def show_plan(
    spec: "JobSpec",
    add: int | None,
    once: str | None,
    prices: "Prices | None" = None,
    *,
    as_json: bool,
) -> NoReturn:
    """Print what a run would do, and exit with its code."""
    from factory.run.estimate import estimate_job
    from factory.run.price import price_job

    import_from_here()
    estimate = estimate_job(spec, add=add, once=once)
    cost = price_job(spec, estimate, prices) if prices else None
    if as_json:
        costs = {"cost": dataclasses.asdict(cost)} if cost else {}
        print_json(dataclasses.asdict(estimate) | costs)
        raise typer.Exit(estimate.exit_code)
    for name, value in (_rows(estimate) | (_cost_rows(cost) if cost else {})).items():
        say(f"{name:<10}{value}")
    for target in estimate.targets:
        say(f"{'target':<10}{describe_target(target)}")
    for warning in estimate.warnings:
        say(f"warning   {warning}")
    for missing in estimate.missing:
        say(f"missing   {missing.what}")
    raise typer.Exit(estimate.exit_code)


def _rows(estimate: "Estimate") -> dict[str, str]:
    """The lines of an estimate, by name."""
    side = estimate.resolution_px
    size = estimate.bytes_in_all
    rows = {
        "dataset": estimate.name,
        "output": estimate.output_uri,
        "pairs": f"{estimate.num_samples:,} ({estimate.num_done:,} made)",
        "shards": f"{estimate.num_shards:,}",
        "image": f"{side} x {side} px" if side else "unknown",
        "size": f"{size / 1e6:,.1f} MB" if size else "unknown",
        "workers": f"{estimate.num_actors}",
        "device": estimate.device or "unknown",
        "time left": _time_left(estimate),
    }
    if estimate.accepted_share is not None and estimate.accepted_share < 1:
        rows["accepted"] = f"{estimate.accepted_share:.0%} of the tried samples"
    if estimate.seconds_per_pair is not None and estimate.passes_per_pair not in (None, 1):
        passes = f"{estimate.passes_per_pair:.3g} forward passes"
        rows["a pair"] = f"{passes}, {estimate.seconds_per_pair:.3g} s of a worker"
    if estimate.worker_bytes is not None:
        rows["memory"] = f"{estimate.worker_bytes / 1e6:,.0f} MB in each worker"
    if estimate.gpu_bytes is not None:
        fit = f"{estimate.workers_per_gpu:,} of them have room on this GPU"
        rows["GPU"] = f"{estimate.gpu_bytes / 1e9:,.1f} GB of its memory in each worker: {fit}"
    if estimate.search_bytes:
        rows["search"] = f"{estimate.search_bytes / 1e6:,.1f} MB in each worker"
    return rows


def _cost_rows(cost: "Cost") -> dict[str, str]:
    """The lines of a cost, by name; what was not measured is unknown."""

    def amount(value: float | None, form: str = ",.2f") -> str:
        return "unknown" if value is None else format(value, form)

    is_gpu = cost.pairs_per_gpu_hour is not None
    rate = cost.pairs_per_gpu_hour if is_gpu else cost.pairs_per_cpu_hour
    million = cost.bytes_per_million
    return {
        "per hour": f"{amount(rate, ',.0f')} pairs of a {'GPU' if is_gpu else 'core'}",
        "million": f"{amount(million / 1e9 if million is not None else None)} GB, "
        f"{amount(cost.per_million)} to make",
        "cost": f"{amount(cost.compute)} compute, {amount(cost.requests)} requests for "
        f"{cost.pairs:,} pairs; {amount(cost.storage_month)} a month to store the dataset",
    }


def _time_left(estimate: "Estimate") -> str:
    """The time that is left in human units, the fit's share apart."""
    left, fit = estimate.seconds_left, estimate.fit_s
    if left is None:
        return "unknown"
    parts = f" (fit {duration(fit)}, pairs {duration(left - fit)})" if fit else ""
    return duration(left) + parts


def describe_target(target: dict[str, Any]) -> str:
    """What samples for a coverage target cost, in one line."""
    name, drawn = target["name"], f"{target['num_drawn']:,}"
    if target["by_rejection"] is None:
        return f"{name}: in none of {drawn} images"
    search = "unknown by search"
    if target["by_search"] is not None:
        more = " or more" if target["way"] == "rejection" else ""
        search = f"{target['by_search']:,.0f}{more} by search"
    chosen = f"{target['by_rejection']:,.0f} images a pair by rejection, {search}"
    return f"{name}: {chosen} ({drawn} tried): {target['way']}"


@one_line_errors
def fit(
    job: JobFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write the segmenter file here.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html and report.png, which show all cuts, or what a search found."
        ),
    ] = None,
    settings: Settings = [],  # noqa: B006 - typer makes a new one
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Fit the job's segmenter and cache it for `run`."""
    from factory.dataset.own_folder import check_outside
    from factory.segment.methods import find_doubts
    from factory.spec.changes import read_changes

    changes = read_changes(settings)
    if changes.add is not None:
        raise JobError("--set dataset.num_samples: a fit makes no samples; use `factory run`")
    for path, option in ((output, "-o"), (report, "--report")):
        if path is not None:
            check_outside(path, option)
    spec = load(job, changes)
    import_from_here()
    if report is not None:
        cli_label.check_has_report(spec, source=str(job))
    found = cli_label.find_or_fit(spec)
    kind, doubts = spec.dataset.segmenter.kind, find_doubts(spec.dataset.segmenter, found.fitted)
    tell = partial(say, err=as_json)
    tell(f"fitted {kind}" if found.is_new else f"{kind} was fitted before: taken from the cache")
    if output is not None:
        replace_file(output, found.fitted)
        tell(f"wrote {output}")
    if report is not None:
        cli_label.write_report(spec, found, report, err=as_json)
    if as_json:
        facts = {"sha256": sha256(found.fitted).hexdigest(), "bytes": len(found.fitted)}
        paths = {"output": output and str(output), "report": report and str(report)}
        print_json(
            {"kind": kind, "is_new": found.is_new, **facts, **paths, "warnings": list(doubts)}
        )
        return
    for doubt in doubts:  # last: there it is read
        say(f"warning   {doubt}")
