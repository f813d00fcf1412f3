"""The command that writes a dataset in other formats: `export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from factory.cli.shared import AsJson, check_choice, one_line_errors, print_json, say
from factory.store.single_file import writing_into

_OBJECTS = "coco"
"""The format of single objects; those of classes are in `formats.py`."""


@one_line_errors
def export(
    layout: Annotated[
        str,
        typer.Argument(
            help="`coco`: objects; `coco-semantic`, `coco-polygons`: classes; `coco-panoptic`; "
            "`folders`: images/, masks/, classes.txt (mmseg, FiftyOne, fastai, MONAI); `nnunet`; `voc`: "
            "palette masks (CVAT); `hf`: Parquet for Hugging Face datasets; `yolo`; `label-studio`; "
            "`dali`: index files.",
            metavar="FORMAT",
        ),
    ],
    dataset: Annotated[str, typer.Argument(help="Dataset folder or URI.", metavar="DATASET")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Output folder.")],
    split: Annotated[str, typer.Option(help="`train`, `val`, `test` or `all`.")] = "all",
    near_train: Annotated[  # noqa: FBT002 - a command line flag
        bool,
        typer.Option(
            "--near-train", help="Also held-out samples that nearly repeat a training sample."
        ),
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Export a dataset to another format.

    Each export has a folder of its own. One that was killed is written whole when it is run again.
    """
    from factory.dataset.own_folder import check_outside
    from factory.export.coco import export_coco
    from factory.export.examples import open_export
    from factory.export.formats import FORMATS
    from factory.export.mark import marked
    from factory.store import open_store

    check_choice(layout, (_OBJECTS, *FORMATS), "FORMAT")
    check_outside(output, "-o")
    source = open_export(open_store(dataset), split, near_train=near_train)
    answer: dict[str, Any] = {"format": layout, "output": str(output)}
    with writing_into(output), marked(output, source, layout):
        if layout == _OBJECTS:
            answer["images"], answer["objects"] = export_coco(source, output)
        else:
            answer["images"] = FORMATS[layout].write(source, output)
    has_edits = layout in FORMATS and FORMATS[layout].has_edits
    answer["edits_left_out"] = source.is_edited and not has_edits
    has_ground = layout not in FORMATS or FORMATS[layout].has_ground
    answer["class_left_out"] = "" if has_ground else source.class_names[source.ground]
    answer["repeats_left_out"] = source.num_left_out
    if as_json:
        print_json(answer)
    else:
        _tell(answer)


def _tell(answer: dict[str, Any]) -> None:
    """Print in words what was written, and what was left out."""
    objects = f" and {answer['objects']:,} objects" if "objects" in answer else ""
    say(f"wrote {answer['images']:,} images{objects} to {answer['output']}")
    if answer["edits_left_out"]:
        say(
            f"left out the edited images and masks, which {answer['format']} has no place for: "
            "`factory export folders` or `factory export hf` writes both"
        )
    if ground := answer["class_left_out"]:
        say(f"left out the polygons of class {ground}, which counts as background")
    if num_repeats := answer["repeats_left_out"]:
        say(f"left out {num_repeats:,} held-out images that nearly repeat a training image")
