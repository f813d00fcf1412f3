"""The command that edits a sample of a dataset, `edit`."""

from pathlib import Path
from typing import Annotated

import typer

from factory.cli.shared import (
    TrustPlugins,
    Where,
    find_store,
    import_from_here,
    one_line_errors,
    say,
)


@one_line_errors
def edit(
    dataset: Where,
    key: Annotated[str, typer.Argument(help="Nine-digit key of a sample.", metavar="KEY")],
    mask: Annotated[
        Path,
        typer.Option(
            help="PNG of the wanted mask: class ids, or colours of the classes; 255, transparent or "
            "black = stays as it is."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", help="Folder for the pair. Default: KEY-edited.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps of Adam.")] = 50,
    learning_rate: Annotated[float, typer.Option(help="Its learning rate.")] = 0.01,
    trust_plugins: TrustPlugins = False,  # noqa: FBT002
) -> None:
    """Edit one sample so that its mask has what was painted; write it before and after."""
    from factory.care.edit import EditSettings, edit_sample, write_pair
    from factory.run.worker import configure_process

    store = find_store(dataset)
    if trust_plugins:
        import_from_here()
    configure_process()
    settings = EditSettings(steps=steps, learning_rate=learning_rate)
    pair = edit_sample(store, key, mask, settings=settings, trust_plugins=trust_plugins)
    for path in write_pair(pair, output or Path(f"{key}-edited")):
        say(f"wrote {path}")
    figures = pair.figures
    say(
        f"{figures.painted_after:.0%} of what was painted has its class now, "
        f"{figures.painted_before:.0%} had it before; "
        f"elsewhere colours changed by {figures.outside_change:.1f} of 255"
    )
