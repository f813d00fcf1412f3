"""The commands that show the content of a dataset: `status` and `preview`."""

from pathlib import Path
from typing import Annotated

import typer

from factory.cli.shared import AsJson, Where, find_store, one_line_errors, print_json, say
from factory.store.single_file import replace_file


@one_line_errors
def status(dataset: Where, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show what is planned, committed and rejected so far."""
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
    for name, value in found.items():
        if isinstance(value, list):
            lines = [f"{t['have']:,}/{t['wanted']:,} {t['name']}: {t['state']}" for t in value]
            reasons = [f" ({t['why']})" if t["why"] else "" for t in value]
            text = f"\n{'':<20}".join(map("".join, zip(lines, reasons, strict=True)))
        elif name == "makers" and isinstance(value, dict):
            lines = [f"{count:,} shards: {maker}" for maker, count in value.items()]
            text = f"\n{'':<20}".join(lines) or "none"
        else:
            text = f"{value:,}" if isinstance(value, int) else str(value)
        say(f"{name:<20}{text}")


@one_line_errors
def preview(
    dataset: Where,
    output: Annotated[Path, typer.Option("-o", help="Output PNG file.")] = Path("preview.png"),
) -> None:
    """Draw a contact sheet: images, overlays of masks, legend."""
    from factory.dataset.preview import make_preview
    from factory.dataset.views import make_manifest
    from factory.errors import StoreError

    store = find_store(dataset)
    picture = make_preview(store, make_manifest(store))
    if picture is None:
        raise StoreError(f"{store.uri}: no shard is committed yet; run the job first")
    replace_file(output, picture)
    say(f"wrote {output}")
