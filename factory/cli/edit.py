"""The command that edits a sample of a dataset, `edit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.shared import (
    AsJson,
    TrustPlugins,
    Where,
    find_store,
    import_from_here,
    one_line_errors,
    print_json,
    refuse_json_of_page,
    say,
)
from factory.errors import JobError

if TYPE_CHECKING:
    from factory.care.edit import EditSettings
    from factory.data import EditFigures
    from factory.store import Store


@one_line_errors
def edit(  # noqa: PLR0913, PLR0917 - options, each by its name
    dataset: Where,
    key: Annotated[str, typer.Argument(help="Nine-digit key of a sample.", metavar="KEY")],
    mask: Annotated[
        Path | None,
        typer.Option(
            help="PNG of the wanted mask: class ids, or colours of the classes; 255, transparent or "
            "black = stays as it is."
        ),
    ] = None,
    page: Annotated[  # noqa: FBT002
        bool, typer.Option("--page", help="Paint the change in a local web page, and see it.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the pair. Default: KEY-edited."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps of Adam.")] = 50,
    learning_rate: Annotated[float, typer.Option(help="Its learning rate.")] = 0.01,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 = any free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,  # noqa: FBT002
    trust_plugins: TrustPlugins = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Edit one sample so that its mask has what was painted; write it before and after."""
    from factory.care.edit import EditSettings, edit_sample, write_pair
    from factory.dataset.own_folder import check_outside
    from factory.run.worker import configure_process

    _check_options(mask, page=page, as_json=as_json)
    folder = output or Path(f"{key}-edited")
    check_outside(folder, "-o")
    store = find_store(dataset)
    if trust_plugins:
        import_from_here()
    configure_process()
    settings = EditSettings(steps=steps, learning_rate=learning_rate)
    if mask is None:
        _open_page(store, key, settings, folder, (port, no_open), trust_plugins=trust_plugins)
        return
    pair = edit_sample(store, key, mask, settings=settings, trust_plugins=trust_plugins)
    written = [str(path) for path in write_pair(pair, folder)]
    if as_json:
        print_json({"output": str(folder), "files": written, **pair.facts()})
        return
    _tell(written, pair.figures)


def _tell(written: list[str], figures: "EditFigures") -> None:
    for path in written:
        say(f"wrote {path}")
    say(
        f"{figures.painted_after:.0%} of what was painted has its class now, "
        f"{figures.painted_before:.0%} had it before; "
        f"elsewhere colours changed by {figures.outside_change:.1f} of 255"
    )


def _check_options(mask: Path | None, *, page: bool, as_json: bool) -> None:
    if (mask is None) != page:
        found = "found both" if page else "found neither"
        raise JobError(
            where="--mask and --page", found=found, remedy="give a mask, or --page to paint one"
        )
    if page and as_json:
        refuse_json_of_page("an edit by --mask")


def _open_page(
    store: "Store",
    key: str,
    settings: "EditSettings",
    folder: Path,
    page: tuple[int, bool],
    *,
    trust_plugins: bool,
) -> None:
    import webbrowser

    from factory.care.edit import open_sample
    from factory.care.editing.server import serve
    from factory.care.editing.session import EditSession
    from factory.fit.pixels.pool import one_thread

    port, no_open = page
    with one_thread():
        sample = open_sample(store, key, trust_plugins=trust_plugins)
    session = EditSession(sample, settings, folder)

    def show(address: str) -> None:
        typer.echo(address)  # unredacted: its token opens this run's page
        say(f"pairs are saved to {folder}; Ctrl+C ends")
        if not no_open:
            webbrowser.open(address)

    serve(session, port=port, on_address=show)
