"""The commands that show the content of a dataset: `status` and `preview`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory.cli.shared import (
    AsJson,
    Where,
    duration,
    find_store,
    one_line_errors,
    print_json,
    say,
)
from factory.store.single_file import replace_file

if TYPE_CHECKING:
    from factory.dataset.status import Status

_MOST_WORKERS = 12


@one_line_errors
def status(dataset: Where, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show what is planned, made and rejected so far, how fast it grows, and who makes it."""
    from factory.dataset.quarantine import find_quarantined
    from factory.dataset.state import find_labels, find_state, progress_of
    from factory.dataset.status import make_status

    store = find_store(dataset)
    state = find_state(store)
    labels = find_labels(store).labels if state.records else []
    quarantined = find_quarantined(store, state.done)
    found = make_status(state, labels, len(quarantined), progress_of(store, state))
    if as_json:
        print_json(found)
        return
    for name, lines in _rows(found).items():
        for position, line in enumerate(lines):
            say(f"{'' if position else name:<13}{line}")


def _rows(found: "Status") -> dict[str, list[str]]:
    """The lines of a status, by name; what has nothing to tell is left out."""
    rows = {
        "dataset": [f"{found['dataset_id']}: {found['state']}"],
        "pairs": [_pairs(found)],
        "shards": [_shards(found)],
        "size": [f"{found['bytes'] / 1e6:,.1f} MB"],
        "last commit": [found["last_commit"].replace("T", " ").replace("+00:00", " UTC")],
        "rate": [_rate(found)] if found["state"] == "incomplete" else [],
        "rejected": [_counts(found["samples_rejected"])],
        "classes": [_counts(found["samples_by_class"])],
        "splits": [_counts(found.get("samples_by_split", {}))],
    }
    for split in found.get("samples_by_split", {}):
        rows[f"in {split}"] = [_counts(found[f"samples_by_class_{split}"])]
    rows["agreement"] = _agreement(found)
    rows["targets"] = [_target(target) for target in found.get("targets", ())]
    if "budget_left" in found:
        rows["budget"] = [f"{found['budget_left']:,} images left for targets"]
    rows["workers"] = _workers(found["workers"])
    rows["made by"] = [f"{count:,} shards: {maker}" for maker, count in found["makers"].items()]
    return {name: kept for name, lines in rows.items() if (kept := [one for one in lines if one])}


def _pairs(found: "Status") -> str:
    short = found["samples_short"]
    why = f"; {short:,} fewer than asked for, because samples were rejected" if short else ""
    return f"{found['samples_committed']:,} of {found['samples_planned']:,}{why}"


def _shards(found: "Status") -> str:
    rounds, bad = found["rounds"], found["shards_quarantined"]
    text = f"{found['shards_committed']:,} of {found['shards_planned']:,} committed"
    text += f", in {rounds:,} rounds" if rounds > 1 else ""
    return text + (f"; {bad:,} in quarantine: see `factory quarantine list`" if bad else "")


def _rate(found: "Status") -> str:
    if not found["pairs_per_s"]:
        return "no shard was committed lately: no run is at work, or it has just begun"
    return f"{found['pairs_per_s']:,.1f} pairs/s, {duration(found['seconds_left'])} left"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _agreement(found: "Status") -> list[str]:
    """How alike masks are to those of other methods, and what a filter would leave; none without."""
    if "agreement" not in found:
        return []
    quantiles = ", ".join(f"{share} below {at:.2f}" for share, at in found["agreement"].items())
    kept = found["kept_by_min_agreement"].items()
    return [quantiles, "kept by " + ", ".join(f"{least}: {share:.0%}" for least, share in kept)]


def _target(target: dict[str, Any]) -> str:
    why = f" ({target['why']})" if target["why"] else ""
    return f"{target['have']:,}/{target['wanted']:,} {target['name']}: {target['state']}{why}"


def _workers(workers: list[dict[str, Any]]) -> list[str]:
    """A line for each of the latest workers: a cluster may have had thousands."""
    lines = [
        f"{one['worker']}: {one['shards']:,} shards, {one['samples']:,} pairs, "
        f"{one['pairs_per_s']:,.1f}/s on {one['device']}"
        for one in workers[:_MOST_WORKERS]
    ]
    more = len(workers) - _MOST_WORKERS
    return [*lines, f"{more:,} more: --json lists them"] if more > 0 else lines


@one_line_errors
def preview(
    dataset: Where,
    output: Annotated[Path, typer.Option("-o", "--output", help="Output PNG file.")] = Path(
        "preview.png"
    ),
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Draw a contact sheet: images, overlays of masks, legend."""
    from factory.dataset.own_folder import check_outside
    from factory.dataset.preview import make_preview
    from factory.dataset.views import make_manifest
    from factory.errors import StoreError

    check_outside(output, "-o")
    store = find_store(dataset)
    manifest = make_manifest(store)
    picture = make_preview(store, manifest)
    if picture is None:
        raise StoreError(f"{store.uri}: no shard is committed yet; run the job first")
    replace_file(output, picture)
    if as_json:
        print_json({"output": str(output), "samples": manifest.num_samples})
        return
    say(f"wrote {output}")
