"""The commands that train a generator: `train-generator`, `judge-generator`, `pack-training`."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.shared import one_line_errors, say
from factory.store.single_file import replace_file

TrainFile = Annotated[Path, typer.Argument(help="Training file (YAML).", metavar="JOB")]


@one_line_errors
def train_generator(job: TrainFile) -> None:
    """Train a generator on labelled images. Run it again to resume."""
    from factory.run.signals import stop_on_signals
    from factory.run.worker import configure_process
    from factory.train_generator.spec import load_training

    spec = load_training(job)
    configure_process(spec.run.num_threads)
    from factory.train_generator.trainer import BEST_NAME, Training

    stop = threading.Event()
    with stop_on_signals(stop):
        scores = Training(spec).run(stop)
    say(
        f"trained {spec.name}: KID {scores.kid:.3f}, precision {scores.precision:.3f}, recall "
        f"{scores.recall:.3f}, classes right {scores.fidelity:.3f}: {spec.output}/{BEST_NAME}"
    )


@one_line_errors
def judge_generator(
    job: TrainFile,
    weights: Annotated[str, typer.Argument(help="Weights file, or `shipped:NAME`.")],
    sheet: Annotated[
        Path | None,
        typer.Option(help="Output PNG: real images beside samples of each class."),
    ] = None,
) -> None:
    """Score a generator with the same classes, as a training scores its own."""
    from factory.run.worker import configure_process
    from factory.train_generator.spec import load_training

    spec = load_training(job)
    configure_process(spec.run.num_threads)
    from factory.train_generator.samples import mean_scores
    from factory.train_generator.trainer import Training

    training = Training(spec)
    network = training.open_weights(weights)
    found = training.score(network)
    if sheet:
        replace_file(sheet, training.compare(network))
    say(f"{'':<20}{'KID':>10}{'precision':>12}{'recall':>10}{'class right':>13}")
    for name, scores in {**found, "mean": mean_scores(found)}.items():
        say(
            f"{name:<20}{scores.kid:>10.3f}{scores.precision:>12.3f}{scores.recall:>10.3f}"
            f"{scores.fidelity:>13.3f}"
        )


@one_line_errors
def pack_training(
    job: TrainFile,
    output: Annotated[Path, typer.Option("-o", help="Output file.")],
) -> None:
    """Write a training's checkpoint in half its size; training can be resumed from it."""
    from factory.train_generator.spec import load_training

    spec = load_training(job)
    from factory.train_generator.trainer import pack_state

    num_images, data = pack_state(spec)
    replace_file(output, data)
    say(f"wrote {output}: {num_images:,} images shown, {len(data) / 2**20:.1f} MiB")
