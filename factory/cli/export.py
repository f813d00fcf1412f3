"""The command that writes a dataset in other formats: `export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.shared import one_line_errors, say
from factory.store.single_file import writing_into


class ExportFormat(StrEnum):
    """Export formats."""

    COCO = "coco"


@one_line_errors
def export(
    layout: Annotated[
        ExportFormat,
        typer.Argument(
            help="`coco`: images, and instance annotations as COCO JSON.", metavar="FORMAT"
        ),
    ],
    dataset: Annotated[str, typer.Argument(help="Dataset folder or URI.", metavar="DATASET")],
    output: Annotated[Path, typer.Option("-o", help="Output folder.")],
) -> None:
    """Export a dataset to another format."""
    from factory.export.coco import export_coco
    from factory.store import open_store

    assert layout is ExportFormat.COCO  # the only one so far
    with writing_into(output):
        num_images, num_objects = export_coco(open_store(dataset), output)
    say(f"wrote {num_images:,} images and {num_objects:,} objects to {output}")
