"""The commands that train a generator: `train-generator`, `judge-generator`, `pack-training`."""

import threading
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.shared import AsJson, one_line_errors, print_json, say
from factory.store.single_file import replace_file

TrainFile = Annotated[Path, typer.Argument(help="Training file (YAML).", metavar="JOB")]


@one_line_errors
def train_generator(job: TrainFile, as_json: AsJson = False) -> None:  # noqa: FBT002
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
    if as_json:
        print_json({"name": spec.name, "output": f"{spec.output}/{BEST_NAME}", **asdict(scores)})
        return
    say(
        f"trained {spec.name}: KID {scores.kid:.3f}, precision {scores.precision:.3f}, recall "
        f"{scores.recall:.3f}, classes right {scores.fidelity:.3f}: {spec.output}/{BEST_NAME}"
    )


@one_line_errors
def judge_generator(
    job: TrainFile,
    weights: Annotated[
        str, typer.Argument(help="Weights file, or `shipped:NAME`.", metavar="WEIGHTS")
    ],
    sheet: Annotated[
        Path | None,
        typer.Option(help="Output PNG: real images beside samples of each class."),
    ] = None,
    repeats: Annotated[
        int,
        typer.Option(min=1, help="Times to score, each with a new judge, for the error bars."),
    ] = 5,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Score a generator with the same classes, as a training scores its own."""
    from factory.dataset.own_folder import check_outside
    from factory.run.worker import configure_process
    from factory.train_generator.spec import load_training

    if sheet is not None:
        check_outside(sheet, "--sheet")
    spec = load_training(job)
    configure_process(spec.run.num_threads)
    from factory.train_generator.spread import spread_of
    from factory.train_generator.trainer import Training

    training = Training(spec)
    network = training.open_weights(weights)
    if sheet:
        replace_file(sheet, training.compare(network))
    found = spread_of([training.score(network, repeat) for repeat in range(repeats)])
    if as_json:
        print_json({name: asdict(spread) for name, spread in found.items()})
        return
    say(f"{'':<20}{'KID':>16}{'precision':>16}{'recall':>16}{'class right':>16}")
    for name, spread in found.items():
        bars = zip(astuple(spread.mean), astuple(spread.deviation), strict=True)
        say(f"{name:<20}" + "".join(f"{f'{mean:.3f} ±{bar:.3f}':>16}" for mean, bar in bars))
    say(f"(± is the standard deviation over {repeats} judges, each with samples of its own)")


@one_line_errors
def pack_training(
    job: TrainFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Output file.")],
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Write a training's checkpoint in half its size; training can be resumed from it."""
    from factory.dataset.own_folder import check_outside
    from factory.train_generator.spec import load_training

    check_outside(output, "-o")
    spec = load_training(job)
    from factory.train_generator.trainer import pack_state

    num_images, data = pack_state(spec)
    replace_file(output, data)
    if as_json:
        print_json({"output": str(output), "images": num_images, "bytes": len(data)})
        return
    say(f"wrote {output}: {num_images:,} images shown, {len(data) / 2**20:.1f} MiB")
