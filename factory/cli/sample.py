"""The command that writes pictures to paint, `sample`."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from factory.cli.shared import (
    JOB_HELP,
    AsJson,
    check_choice,
    import_from_here,
    load,
    one_line_errors,
    print_json,
    say,
)

if TYPE_CHECKING:
    from factory.fit.annotations.pictures_file import PicturesFile
    from factory.fit.pick import Choice
    from factory.spec import JobSpec
    from factory.spec.linear import LinearSpec

_MOST_PICTURES = 1000


@one_line_errors
def sample(
    job: Annotated[Path, typer.Argument(help=JOB_HELP, metavar="JOB")],
    num_pictures: Annotated[
        int, typer.Option("--n", min=1, max=_MOST_PICTURES, help="Number of pictures.")
    ] = 8,
    pick: Annotated[
        str,
        typer.Option(
            help="`diverse`: those that cover what the generator makes; `random`; `by-class`: as many "
            "of each class of the generator."
        ),
    ] = "diverse",
    pool: Annotated[
        int, typer.Option(min=1, max=10**6, help="Number of images that they are chosen from.")
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, max=2**53 - 1, help="Seed of these images.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder. Default: `annotations` of the job's linear segmenter."
        ),
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Write pictures of the job's generator to paint, for few-shot segmentation (kind: linear)."""
    from factory.dataset.own_folder import check_outside
    from factory.fit.pick import Choice, Pick
    from factory.spec.linear import LinearSpec

    check_choice(pick, get_args(Pick), "--pick")
    spec = load(job)
    import_from_here()
    method = spec.dataset.segmenter
    linear = method if isinstance(method, LinearSpec) else None
    named = linear.annotations if linear else None
    folder = output or Path(named or f"{spec.name}-painted")
    check_outside(folder, "-o")
    choice = Choice(pick=cast("Pick", pick), count=num_pictures, pool_size=pool, seed=seed)
    content = _write(spec, folder, choice)
    if as_json:
        names = [picture.name for picture in content.pictures]
        print_json({"output": str(folder), "pick": pick, "pool": pool, "pictures": names})
        return
    say(f"wrote {len(content.pictures)} pictures to {folder}/pictures: {pick} of {pool} images")
    if linear and named and folder == Path(named):
        say(f"paint them in a browser: factory paint {job}")
    say(f"masks of other tools: {folder}/masks/NAME.png, or the tool's files in {folder}")
    if linear:
        _show_colours(linear)


def _write(spec: "JobSpec", folder: Path, choice: "Choice") -> "PicturesFile":
    from factory.fit.annotations.sample import sample_pictures
    from factory.fit.progress import Progress
    from factory.generate.base import load_generator
    from factory.generate.weights.find import find_weights
    from factory.run.progress import progress_reporter
    from factory.run.signals import stop_on_signals
    from factory.run.worker import configure_process, device_here

    configure_process()
    stop = threading.Event()
    with progress_reporter() as observer, stop_on_signals(stop):
        weights = find_weights(spec.dataset.generator, observer.downloading)
        generator = load_generator(
            spec.dataset.generator, weights.path, device=device_here(spec.run)
        )
        return sample_pictures(
            generator,
            spec.dataset,
            weights.sha256,
            folder,
            choice,
            Progress(observer.fitting, stop),
        )


def _show_colours(spec: "LinearSpec") -> None:
    from factory.fit.annotations.classes import make_classes, make_labels

    say("colours of the classes:")
    for entry in make_classes(make_labels(spec.classes)).coloured().split(", "):
        say(f"  {entry}")
