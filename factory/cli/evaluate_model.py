"""The command that scores a trained network on labelled pictures: `eval model`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from factory.cli.shared import AsJson, load, one_line_errors, print_json, say
from factory.errors import JobError

if TYPE_CHECKING:
    from factory.downstream.evaluation import Evaluation
    from factory.downstream.intervals import Figure
    from factory.downstream.model_scores import ModelScores

_EVERY = 50
_NUM_SHOWN = 6

Model = Annotated[
    Path,
    typer.Argument(
        help="model.pt or model.onnx of `factory train`, or their folder.", metavar="MODEL"
    ),
]
On = Annotated[
    str,
    typer.Option(
        help="Pictures with masks: a folder or tar of KEY.png beside KEY.mask.png, or of images/ beside "
        "masks/; or a dataset, or the job file that makes it."
    ),
]
Under = Annotated[str, typer.Option(help="Use only what lies in this folder of the folder or tar.")]
Split = Annotated[
    str, typer.Option(help="Split of the dataset; by default test, else val, else all.")
]
Protocol = Annotated[
    Literal["none", "feng2023", "melas2022", "klish2023"],
    typer.Option(
        help="Score as a paper does: feng2023 (foreground, 3 px trimap), melas2022 (foreground, max F), "
        "klish2023 (classes matched greedily on one half, without background)."
    ),
]
Map = Annotated[
    str,
    typer.Option(
        "--map",
        help="Classes of the masks by class of the network: 'nucleus=nucleus,rim=cytoplasm'. Others are "
        "matched by equal names; what stays unmatched is background.",
    ),
]
Union = Annotated[
    list[str],
    typer.Option(
        "--union", help="Also score classes together: 'whole=nucleus+cytoplasm'; can be repeated."
    ),
]
Names = Annotated[
    str, typer.Option(help="Names of the masks' classes by value: 'background,cytoplasm,nucleus'.")
]
Background = Annotated[str, typer.Option(help="The masks' background class; by default value 0.")]
View = Annotated[
    Literal["whole", "tiles"],
    typer.Option(
        help="Shrink or enlarge pictures to the network's side, or cut them into tiles of it."
    ),
]
Keep = Annotated[
    Literal["all", "largest", "central"], typer.Option(help="Objects of an answer that stay.")
]
FillHoles = Annotated[bool, typer.Option(help="Fill holes in the objects of an answer.")]
Trimap = Annotated[
    int, typer.Option(min=1, help="Pixels around a true border that are the trimap.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first N pictures.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")]
Report = Annotated[
    Path | None, typer.Option(help="Write a page with best and worst answers: FILE.html.")
]


@one_line_errors
def model(  # noqa: PLR0913, PLR0917 - options, each by its name
    model: Model,
    on: On,
    under: Under = "",
    split: Split = "",
    protocol: Protocol = "none",
    mapping: Map = "",
    union: Union = [],  # noqa: B006 - typer's
    reference_names: Names = "",
    background: Background = "",
    view: View = "whole",
    keep: Keep = "all",
    fill_holes: FillHoles = False,  # noqa: FBT002 - a command line flag
    trimap_px: Trimap = 3,
    samples: Limit = None,
    seed: Seed = 0,
    report: Report = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Score a trained network on labelled pictures: IoU, Dice and trimap IoU, with intervals."""
    from factory.dataset.own_folder import check_outside
    from factory.downstream.evaluation import open_evaluation
    from factory.downstream.score_settings import ScoreSettings
    from factory.run.worker import configure_process

    settings = ScoreSettings(
        protocol=protocol,
        mapping=dict(_equations("--map", _items(mapping))),
        unions={name: tuple(parts.split("+")) for name, parts in _equations("--union", union)},
        reference_names=tuple(_items(reference_names)),
        background=background,
        view=view,
        keep=keep,
        fill_holes=fill_holes,
        trimap_px=trimap_px,
        limit=samples,
        seed=seed,
    )
    configure_process()
    if on.endswith((".yaml", ".yml")):
        on = load(Path(on)).output.uri
    if report is not None:
        check_outside(report, "--report")
    evaluation = open_evaluation(model, on, under=under, split=split, settings=settings)
    scores = evaluation.run(None if as_json else _tell)
    if report is not None:
        _write_report(report, evaluation, scores)
    if as_json:
        print_json(scores.model_dump(mode="json"))
    else:
        _print(scores, report)


def _tell(done: int, total: int) -> None:
    if done % _EVERY == 0:
        say(f"{done:,} of {total:,} pictures", err=True)


def _write_report(path: Path, evaluation: "Evaluation", scores: "ModelScores") -> None:
    from factory.downstream.report import make_report
    from factory.store.single_file import make_folder, replace_file

    best, worst = evaluation.extremes(scores, _NUM_SHOWN)
    make_folder(path.parent)
    replace_file(path, make_report(scores, evaluation.classes, best, worst))


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text else []


def _equations(option: str, items: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of `A=B`.

    Raises:
        JobError: If an item is none, or a name stands twice on the left.
    """
    pairs: list[tuple[str, str]] = []
    for item in items:
        left, sign, right = (part.strip() for part in item.partition("="))
        if not (left and sign and right):
            raise JobError(where=option, found=f"found {item[:80]!r}", allowed="NAME=NAME")
        if left in dict(pairs):
            raise JobError(where=option, found=f"found {left!r} twice", allowed="each name once")
        pairs.append((left, right))
    return pairs


def _print(scores: "ModelScores", report: Path | None) -> None:
    say(f"{scores.num_pictures:,} pictures of {scores.pictures}, {scores.view} view")
    if scores.num_matched_on:
        say(f"classes matched greedily on {scores.num_matched_on:,} other pictures")
    width = max(len("pixel accuracy"), *(len(part.name) for part in scores.parts)) + 2
    say(f"{'part':<{width}}{'IoU':>22}{'all px':>8}{'Dice':>8}{'trimap':>8}{'all px':>8}")
    for part in scores.parts:
        others = (part.iou_global, part.dice, part.trimap, part.trimap_global)
        say(
            f"{part.name:<{width}}{_with_interval(part.iou)}"
            + "".join(f"{_number(figure):>8}" for figure in others)
        )
    if absent := [part.name for part in scores.parts if not part.num_true]:
        say(f"in no mask, so that any answer of them is wrong: {', '.join(absent)}")
    say(f"{'mIoU':<{width}}{_with_interval(scores.miou)}{_number(scores.miou_global):>8}")
    say(
        f"{'  foreground':<{width}}{_with_interval(scores.miou_foreground)}"
        f"{_number(scores.miou_foreground_global):>8}"
    )
    say(f"{'pixel accuracy':<{width}}{_with_interval(scores.accuracy)}")
    for name, figure in scores.figures.items():
        say(f"{scores.protocol} {name}: {_with_interval(figure).strip()}")
    if report is not None:
        say(f"best and worst answers: {report}")


def _number(figure: "Figure") -> str:
    return "-" if figure.value is None else f"{figure.value:.3f}"


def _with_interval(figure: "Figure") -> str:
    if figure.low is None or figure.high is None:
        return f"{'-':>22}"
    return f"{_number(figure):>7} [{figure.low:.3f}, {figure.high:.3f}]".ljust(22)
