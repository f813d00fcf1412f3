"""The commands that maintain a dataset: `verify`, `doctor`, `repair`, `gc`, `quarantine`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.shared import (
    JOB_HELP,
    AsJson,
    TrustPlugins,
    Where,
    find_store,
    import_from_here,
    load,
    one_line_errors,
    print_json,
    say,
)
from factory.errors import DamageError, JobError, PluginError, StoreError, count_problems

if TYPE_CHECKING:
    from factory.care.repair import Step

Yes = Annotated[
    bool, typer.Option("--yes", help="Carry it out. Without it, only print what would be done.")
]

quarantine = typer.Typer(
    name="quarantine", help="List or release shards that failed too often.", no_args_is_help=True
)


@one_line_errors
def verify(
    dataset: Where,
    deep: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--deep", help="Also decode every sample and compare it with its table."),
    ] = False,
    regenerate: Annotated[
        int, typer.Option(min=0, help="Also regenerate this many samples and compare bytes.")
    ] = 0,
    trust_plugins: TrustPlugins = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Verify a dataset: compare the bytes of every shard with its receipt."""
    from factory.care.verify import verify_dataset

    store = find_store(dataset)
    if regenerate:
        from factory.run.worker import configure_process

        if trust_plugins:
            import_from_here()
        configure_process()
    findings = verify_dataset(store, deep=deep, regenerate=regenerate, trust_plugins=trust_plugins)
    if as_json:
        print_json(dataclasses.asdict(findings))
    else:
        for problem in findings.problems:
            say(str(problem))
        if findings.makers:
            say("mixed makers: the same sample may have other bytes if another of them makes it")
        for maker in findings.makers:
            say(f"  {maker}")
    if findings.problems:
        raise DamageError(
            where=store.uri,
            found=count_problems(len(findings.problems)),
            remedy=f"`factory repair {store.uri}` says what to do about each",
            problems=findings.problems,
        )
    if not as_json:
        made = findings.num_regenerated
        again = f", {made:,} made again byte for byte" if regenerate else ""
        say(f"{findings.num_shards:,} shards, {findings.num_samples:,} samples: all good{again}")


@one_line_errors
def doctor(
    job: Annotated[Path | None, typer.Argument(help=JOB_HELP, metavar="JOB")] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Check this machine, and a job's store and cluster, before a run."""
    from factory.care.doctor import examine

    checks = []
    for check in examine(load(job) if job else None):
        checks.append(check)
        if not as_json:
            say(f"{check.state:<9}{check.name:<28}{check.found}")
            if check.remedy:
                say(f"{'':<9}{'':<28}-> {check.remedy}")
    if as_json:
        print_json([dataclasses.asdict(check) for check in checks])
    failing = [check for check in checks if check.state == "fails"]
    if failing:
        names = ", ".join(check.name for check in failing)
        kind = StoreError if failing[0].kind == "output" else PluginError
        raise kind(f"{len(failing)} of {len(checks)} checks fail: {names}")


@one_line_errors
def repair(dataset: Where, yes: Yes = False, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Repair a dataset: adopt orphaned tars, remove damaged ones, rebuild tables.

    Then run the job again, which makes the missing shards.
    """
    from factory.care.repair import find_repairs

    _carry_out(find_repairs(find_store(dataset)), yes=yes, as_json=as_json)


@one_line_errors
def collect_garbage(
    dataset: Where,
    older_than_h: Annotated[
        float, typer.Option(min=0, help="Keep files that are younger than this many hours.")
    ] = 24,
    yes: Yes = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Remove unfinished files and uploads, and orphans: files without a receipt."""
    from factory.care.repair import find_garbage

    steps = find_garbage(find_store(dataset), older_than_h * 3600)
    _carry_out(steps, yes=yes, as_json=as_json)


@quarantine.command("list")
@one_line_errors
def list_quarantine(dataset: Where, as_json: AsJson = False) -> None:  # noqa: FBT002
    """List the shards in quarantine with the reasons."""
    from factory.dataset.committed import find_committed
    from factory.dataset.quarantine import find_quarantined
    from factory.dataset.state import find_plan

    store = find_store(dataset)
    found = find_quarantined(store, find_committed(store, find_plan(store)).indices)
    if as_json:
        print_json([failure.model_dump(mode="json") for failure in found])
        return
    for failure in found:
        say(f"{failure.name}  failed {failure.attempt} times  {failure.reason}")
    if not found:
        say("no shard is in quarantine")


@quarantine.command("retry")
@one_line_errors
def retry_quarantine(
    dataset: Where,
    shards: Annotated[
        list[str] | None,
        typer.Argument(help="Names of shards. Default: all.", metavar="SHARD"),
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Release shards from quarantine: the next run retries them."""
    from factory.dataset.quarantine import find_quarantined, release
    from factory.dataset.state import find_plan

    store = find_store(dataset)
    find_plan(store)
    known = {failure.name: failure.shard_index for failure in find_quarantined(store)}
    unknown = [name for name in shards or () if name not in known]
    if unknown:
        there = f"there: {', '.join(known)}" if known else "no shard is"
        raise JobError(where=unknown[0], found="not in quarantine", allowed=there)
    names = shards or list(known)
    release(store, {known[name] for name in names})
    if as_json:
        print_json({"released": names})
    elif names:
        say(f"{len(names)} shards released; run the job again")
    else:
        say("no shard is in quarantine")


def _carry_out(steps: "list[Step]", *, yes: bool, as_json: bool) -> None:
    possible = [step for step in steps if step.do is not None]
    for step in steps:
        if yes and step.do is not None:
            step.do()
        if not as_json:
            say(str(step.problem))
    if as_json:
        done = [{"done": yes and step.do is not None} for step in steps]
        print_json([dataclasses.asdict(s.problem) | d for s, d in zip(steps, done, strict=True)])
    elif not steps:
        say("nothing to do")
    elif possible and not yes:
        say(f"{len(possible)} things to do; nothing is done without --yes")
