"""The commands that score a dataset: `eval masks`."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from factory.cli.shared import (
    AsJson,
    TrustPlugins,
    Where,
    find_store,
    import_from_here,
    one_line_errors,
    print_json,
    say,
)

if TYPE_CHECKING:
    from factory.evaluate.scores import MaskScores

app = typer.Typer(
    help="Score a dataset, or a network that was trained on one.", no_args_is_help=True
)

Triple = tuple[float, float, float]

_ROWS = {
    "ARI": "ari",
    "AMI": "ami",
    "V-measure": "v_measure",
    "  homogeneity": "homogeneity",
    "  completeness": "completeness",
    "pixel accuracy": "pixel_accuracy",
    "mIoU per image": "miou_per_image",
    "mIoU global": "miou_global",
}


Should = Annotated[
    str,
    typer.Option(
        help="Reference masks: 'generator' (if it has exact masks, as `shapes` does); a "
        "folder of KEY.mask.png or KEY.png; a tar, or a folder of tars, of the same; or a "
        "segmenter, TorchScript (.pt) or ONNX (.onnx), that returns logits (n, k, h, w) or class "
        "ids (n, h, w). A TorchScript file contains code: use only files you trust."
    ),
]
Names = Annotated[str, typer.Option(help="Names of the reference's classes by id: 'sky,tree'.")]
Matching = Annotated[
    Literal["greedy", "names"],
    typer.Option(
        help="How classes of dataset and reference are matched: greedily by IoU, on one half of the "
        "samples, scored on the other; or by equal names."
    ),
]
Background = Annotated[
    str, typer.Option(help="Background class of the reference: id, name, or 'none'.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first N samples.")]
Mean = Annotated[Triple, typer.Option(help="Segmenter: mean that is subtracted from RGB (0 to 1).")]
Std = Annotated[Triple, typer.Option(help="Segmenter: deviation that RGB is then divided by.")]
Size = Annotated[
    int | None, typer.Option(min=1, help="Segmenter: resize images to this many pixels first.")
]


@app.command()
@one_line_errors
def masks(  # noqa: PLR0913, PLR0917 - options, each by its name
    dataset: Where,
    reference: Should,
    reference_names: Names = "",
    match: Matching = "greedy",
    background: Background = "0",
    samples: Limit = None,
    mean: Mean = (0.0, 0.0, 0.0),
    std: Std = (1.0, 1.0, 1.0),
    size: Size = None,
    trust_plugins: TrustPlugins = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Score masks against a reference: ARI, AMI, V-measure, IoU. 255 on either side is ignored."""
    from factory.evaluate.masks import evaluate_masks
    from factory.evaluate.open_reference import is_computed, open_reference
    from factory.evaluate.reference import ImageInput

    store = find_store(dataset)
    if is_computed(reference):
        from factory.run.worker import configure_process

        if trust_plugins:
            import_from_here()
        configure_process()
    images = ImageInput(mean, std, size)
    known = open_reference(reference, store, images, trust_plugins=trust_plugins)
    scores = evaluate_masks(
        store,
        known,
        names=[name.strip() for name in reference_names.split(",")] if reference_names else [],
        match=match,
        background=background,
        limit=samples,
    )
    if as_json:
        print_json({"reference": known.name} | dataclasses.asdict(scores))
    else:
        _print(scores, known.name)


def _print(scores: "MaskScores", reference: str) -> None:
    front = scores.foreground
    say(f"{scores.num_samples:,} samples against {reference}")
    without = f"without {scores.background}" if front else ""
    say(f"{'':<16}{'all classes':>12}  {without}".rstrip())
    for title, name in _ROWS.items():
        line = f"{title:<16}{getattr(scores.all_classes, name):>12.4f}"
        if without:
            line += f"  {getattr(front, name):>{len(without)}.4f}"
        say(line)
    width = max(len("class"), *(len(row.name) for row in scores.classes)) + 2
    say(f"{'class':<{width}}{'share':>7}{'IoU per image':>15}{'IoU global':>12}  clusters")
    for row in scores.classes:
        say(
            f"{row.name:<{width}}{row.share:>7.1%}{row.iou_per_image:>15.4f}"
            f"{row.iou_global:>12.4f}  {', '.join(row.clusters) or 'none'}"
        )
    if scores.unassigned:
        say(f"clusters of no class: {', '.join(scores.unassigned)}")
    if scores.match == "greedy":
        say(
            f"clusters matched greedily on {scores.num_matched_on:,} samples; accuracy and IoU from "
            f"the other {scores.num_scored:,}"
        )
    else:
        say("clusters matched by name")
    if scores.num_ignored_px:
        say(f"{scores.num_ignored_px:,} pixels ignored (255 on either side)")
