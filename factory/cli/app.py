"""The command line: words in, calls out; it decides nothing.

Heavy imports happen inside the commands, so that `factory --help` and `factory plan` are quick.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from factory.cli import care as cli_care
from factory.cli import evaluate as cli_eval
from factory.cli import export as cli_export
from factory.cli import label as cli_label
from factory.cli import serve as cli_serve
from factory.cli import train as cli_train
from factory.cli import weights as cli_weights
from factory.cli.shared import (
    AsJson,
    TrustPlugins,
    Where,
    import_from_here,
    load,
    one_line_errors,
    open_dataset,
    print_json,
    say,
)
from factory.errors import DamageError
from factory.store.single_file import replace_file, writing_into

app = typer.Typer(
    help="Turn a pretrained image generator into a segmentation dataset, without annotators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JobFile = Annotated[Path, typer.Argument(help="Job file (YAML).", metavar="JOB")]


@app.command()
@one_line_errors
def plan(job: JobFile, as_json: AsJson = False) -> None:  # noqa: FBT002 - a command line flag
    """Dry run: shards, bytes, time, and warnings. Writes nothing."""
    from factory.run.estimate import estimate_job

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
    for name, value in rows.items():
        say(f"{name:<10}{value}")
    for warning in estimate.warnings:
        say(f"warning   {warning}")


@app.command()
@one_line_errors
def fit(
    job: JobFile,
    output: Annotated[Path | None, typer.Option("-o", help="Also write the file here.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Folder for report.html and report.png: all cuts to look at."),
    ] = None,
) -> None:
    """Fit the job's segmenter and keep it, so that `run` finds it."""
    spec = load(job)
    import_from_here()
    if report is not None:
        from factory.label.material import check_has_tree

        check_has_tree(spec, source=str(job))
    found = cli_label.find_or_fit(spec)
    if found.is_new:
        say(f"fitted {spec.dataset.segmenter.kind}")
    else:
        say(f"{spec.dataset.segmenter.kind} was fitted before; nothing to do")
    if output is not None:
        replace_file(output, found.fitted)
        say(f"wrote {output}")
    if report is not None:
        cli_label.write_report(cli_label.draw_material(spec, found), report)


@app.command()
@one_line_errors
def run(job: JobFile) -> None:
    """Make the dataset, or what is missing of it. Running it again resumes."""
    from factory.job import run_job
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
        f" (look at {spec.output.uri.rstrip('/')}/preview.png)"
    )
    if short:
        say(
            f"warning: {short:,} fewer than asked for, because samples were rejected; "
            "see `factory status`, then raise dataset.num_samples",
            err=True,
        )


@app.command()
@one_line_errors
def status(dataset: Where, as_json: AsJson = False) -> None:  # noqa: FBT002
    """What is planned, made and rejected so far."""
    from factory.dataset.holdings import find_holdings, find_labels, progress_of
    from factory.dataset.quarantine import find_quarantined
    from factory.dataset.status import make_status

    store = open_dataset(dataset)
    holdings = find_holdings(store)
    labels = find_labels(store).labels if holdings.records else []
    quarantined = find_quarantined(store, holdings.done)
    found = make_status(holdings, labels, len(quarantined), progress_of(store, holdings))
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if isinstance(value, list):
            lines = [f"{t['have']:,}/{t['wanted']:,} {t['name']}: {t['state']}" for t in value]
            reasons = [f" ({t['why']})" if t["why"] else "" for t in value]
            text = f"\n{'':<20}".join(map("".join, zip(lines, reasons, strict=True)))
        else:
            text = f"{value:,}" if isinstance(value, int) else str(value)
        say(f"{name:<20}{text}")


@app.command()
@one_line_errors
def verify(
    dataset: Where,
    deep: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--deep", help="Also decode and count every sample, and check its table."),
    ] = False,
    regenerate: Annotated[
        int, typer.Option(min=0, help="Also make this many samples again and compare bytes.")
    ] = 0,
    trust_plugins: TrustPlugins = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Check every byte of a dataset against its receipts."""
    from factory.care.verify import verify_dataset

    store = open_dataset(dataset)
    findings = verify_dataset(store, deep=deep)
    problems, num_made = list(findings.problems), 0
    if regenerate and not problems:
        from factory.care.replay import regenerate_samples
        from factory.run.worker import configure_process

        if trust_plugins:
            import_from_here()
        configure_process()
        num_made, differences = regenerate_samples(store, regenerate, trust_plugins=trust_plugins)
        problems += differences
    if as_json:
        found = {"problems": [dataclasses.asdict(problem) for problem in problems]}
        print_json(dataclasses.asdict(findings) | found)
    else:
        for problem in problems:
            say(str(problem))
    if problems:
        raise DamageError(
            where=store.uri,
            found=f"{len(problems)} problems",
            remedy=f"`factory repair {store.uri}` says what to do about each",
            problems=tuple(problems),
        )
    if not as_json:
        again = f", {num_made:,} made again byte for byte" if regenerate else ""
        say(f"{findings.num_shards:,} shards, {findings.num_samples:,} samples: all good{again}")


@app.command()
@one_line_errors
def preview(
    dataset: Where,
    output: Annotated[Path, typer.Option("-o", help="Where to write the PNG.")] = Path(
        "preview.png"
    ),
) -> None:
    """Draw a contact sheet: images, masks over images, legend."""
    from factory.dataset.preview import make_preview
    from factory.dataset.views import make_manifest
    from factory.errors import StoreError

    store = open_dataset(dataset)
    picture = make_preview(store, make_manifest(store))
    if picture is None:
        raise StoreError(f"{store.uri}: no shard is committed yet; run the job first")
    replace_file(output, picture)
    say(f"wrote {output}")


@app.command()
@one_line_errors
def schema(
    folder: Annotated[Path, typer.Argument(help="Folder to write them into.")] = Path("schemas"),
) -> None:
    """Write the JSON Schemas of every file that the factory reads or writes."""
    from factory.cli.schemas import write_schemas

    with writing_into(folder):
        changed = write_schemas(folder)
    say(f"wrote {', '.join(changed)}" if changed else "all schemas are up to date")


@app.command()
@one_line_errors
def generators() -> None:
    """List the generators, and the weights that come with this package."""
    from factory.generate import GENERATORS, SHIPPED

    _print_names(GENERATORS.names(), GENERATORS.target)
    for name, file in SHIPPED.items():
        say(f"{'shipped:' + name:<20}{file}")


@app.command()
@one_line_errors
def segmenters() -> None:
    """List the segmenters."""
    from factory.segment import SEGMENTERS
    from factory.spec.segmenters import summarise

    _print_names(SEGMENTERS.names(), lambda kind: summarise(kind) or SEGMENTERS.target(kind))


app.command()(cli_serve.serve)
app.command()(cli_serve.replay)
app.command()(cli_label.label)
app.command()(cli_care.doctor)
app.command()(cli_care.repair)
app.command("gc")(cli_care.collect_garbage)
app.add_typer(cli_care.quarantine)
app.command()(cli_weights.inspect)
app.command()(cli_weights.convert)
app.command()(cli_export.export)
app.command()(cli_train.train_generator)
app.command()(cli_train.judge_generator)
app.command()(cli_train.pack_training)
app.add_typer(cli_eval.app, name="eval")


def _print_names(names: list[str], target: Callable[[str], str]) -> None:
    for name in names:
        say(f"{name:<20}{target(name)}")
