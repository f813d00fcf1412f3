"""The command that opens the painting page, `paint`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.shared import import_from_here, load, one_line_errors, say

if TYPE_CHECKING:
    from factory.label.painting.material import PaintingMaterial
    from factory.spec import JobSpec


@one_line_errors
def paint(
    job: Annotated[
        Path,
        typer.Argument(
            help="Job file (YAML) of kind: linear: its classes are painted on the pictures that "
            "`factory sample` wrote into its `annotations`.",
            metavar="JOB",
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,  # noqa: FBT002
) -> None:
    """Paint pictures in a local web page, with suggestions from the fourth on. Ctrl+C ends it."""
    import webbrowser

    from factory.label.painting.server import serve

    spec = load(job)
    import_from_here()
    material = _material_of(spec, str(job))

    def show(address: str) -> None:
        typer.echo(address)  # unredacted: its token opens this run's page
        say(f"masks are saved to {material.folder}/masks as you paint; Ctrl+C ends")
        if not no_open:
            webbrowser.open(address)

    serve(material, port=port, on_address=show)


def _material_of(spec: "JobSpec", source: str) -> "PaintingMaterial":
    from factory.generate.weights.find import find_weights
    from factory.label.painting.material import make_painting_material, painting_of
    from factory.run.progress import progress_reporter
    from factory.run.worker import configure_process, device_here

    configure_process()
    painting_of(spec, source)
    with progress_reporter() as observer:
        weights = find_weights(spec.dataset.generator, observer.downloading)
    return make_painting_material(spec, weights, source=source, device=device_here(spec.run))
