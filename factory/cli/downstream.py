"""The command that trains a segmentation network on a dataset: `train`."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from factory.cli.shared import AsJson, Where, find_store, one_line_errors, print_json, say

if TYPE_CHECKING:
    from factory.downstream.settings import NetworkSettings

_EVERY = 50


Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the training.")]
Size = Annotated[
    Literal["S", "M"], typer.Option(help="Size of the U-Net: S for a CPU, M for a GPU.")
]
Steps = Annotated[int, typer.Option(min=1, help="Steps, at most.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pairs per step.")]
LearningRate = Annotated[float, typer.Option(help="Highest learning rate.")]
Augment = Annotated[
    bool, typer.Option(help="Change poses, stains, light, sharpness and noise of the pictures.")
]
ClassWeights = Annotated[
    Literal["none", "balanced"], typer.Option(help="Weights of classes in the loss.")
]
Every = Annotated[
    int, typer.Option(min=1, help="Steps between saves, log lines and scores on `val`.")
]
Patience = Annotated[
    int, typer.Option(min=1, help="Scores without a better one after which it stops.")
]
Precision = Annotated[
    Literal["float32", "bfloat16"], typer.Option(help="Arithmetic of the network.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed.")]


@one_line_errors
def train(  # noqa: PLR0913, PLR0917 - options, each by its name
    dataset: Where,
    output: Output,
    size: Size = "S",
    steps: Steps = 2000,
    batch_size: BatchSize = 16,
    learning_rate: LearningRate = 2e-3,
    augment: Augment = True,  # noqa: FBT002 - a command line flag
    class_weights: ClassWeights = "none",
    every: Every = 100,
    patience: Patience = 10,
    precision: Precision = "float32",
    seed: Seed = 0,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Train a segmentation network on a dataset. Run it again to resume.

    On several GPUs: `torchrun --nproc_per_node 8 -m factory train ...`.
    """
    from factory.downstream.settings import NetworkSettings
    from factory.spec.check import check_settings

    given = {
        "size": size,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "augment": augment,
        "class_weights": class_weights,
        "every": every,
        "patience": patience,
        "precision": precision,
        "seed": seed,
    }
    _train(dataset, output, check_settings(NetworkSettings, given, source="train"), as_json=as_json)


def _train(dataset: str, output: Path, settings: "NetworkSettings", *, as_json: bool) -> None:
    from factory.dataset.own_folder import check_outside
    from factory.downstream.pairs import open_pairs
    from factory.downstream.ranks import joined_ranks
    from factory.downstream.training import NetworkTraining
    from factory.run.signals import stop_on_signals
    from factory.store.single_file import make_folder

    check_outside(output, "-o")
    pairs, val = open_pairs(find_store(dataset))
    make_folder(output)
    stop = threading.Event()

    def progress(done: int, total: int, loss: float) -> None:
        if done % _EVERY == 0 or done == total:
            say(f"step {done:,} of {total:,}, loss {loss:.4f}", err=as_json)

    with stop_on_signals(stop), joined_ranks() as ranks:
        training = NetworkTraining(pairs, val, output, settings, ranks)
        trained = training.run(stop, progress if ranks.rank == 0 else lambda *_: None)
    if ranks.rank != 0:
        return
    if as_json:
        facts = {"steps": trained.steps, "miou": trained.best_miou, "classes": trained.classes}
        print_json({"output": f"{output}/model.pt", "onnx": f"{output}/model.onnx", **facts})
        return
    score = "" if trained.best_miou is None else f", mIoU {trained.best_miou:.3f} on val"
    say(f"trained {trained.steps:,} steps{score}: {output}/model.pt, {output}/model.onnx")
