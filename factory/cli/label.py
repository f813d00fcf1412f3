"""The command that names clusters, `label`, and the report of `fit`."""

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.evaluate import Mean, Size, Std
from factory.cli.shared import (
    AsJson,
    import_from_here,
    one_line_errors,
    print_json,
    refuse_json_of_page,
    say,
)
from factory.errors import JobError
from factory.store.single_file import replace_file, writing_into

if TYPE_CHECKING:
    from factory.label.material import LabelMaterial
    from factory.run.fitting import FoundFit
    from factory.spec import JobSpec

_YAML = (".yaml", ".yml")
Model = Annotated[
    Path | None,
    typer.Option(
        help="With --review: a segmenter, TorchScript (.pt) or ONNX (.onnx), goes over the names "
        "instead of a person. It returns logits (n, k, h, w) or class ids (n, h, w). A TorchScript file "
        "contains code: use only files you trust."
    ),
]
Names = Annotated[
    str,
    typer.Option(
        help="Names of the model's classes by id, as in the labels: 'ground,cell,cell'; 'ground|rim' "
        "for one that the model does not tell apart."
    ),
]


Segmenter = Annotated[
    Path,
    typer.Argument(
        help="Segmenter file of `factory fit -o`, or a job (file, or `shipped:NAME`), whose segmenter "
        "is then fitted if necessary.",
        metavar="SEGMENTER",
    ),
]
JobOfFile = Annotated[
    Path | None,
    typer.Argument(
        help="Job of the segmenter file: its generator makes the samples.", metavar="JOB"
    ),
]
LabelsOut = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Labels file. Default: that of the job, or labels.yaml."),
]
Reviewer = Annotated[
    str,
    typer.Option(
        help="Go over names that another has given, as WHO: confirm or dispute each node.",
        metavar="WHO",
    ),
]


@one_line_errors
def label(  # noqa: PLR0913, PLR0917 - options, each by its name
    segmenter: Segmenter,
    job: JobOfFile = None,
    output: LabelsOut = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,  # noqa: FBT002
    review: Reviewer = "",
    model: Model = None,
    model_names: Names = "",
    mean: Mean = (0.0, 0.0, 0.0),
    std: Std = (1.0, 1.0, 1.0),
    size: Size = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Name clusters in a local web page: choose a cut, name, merge, colour, save. Ctrl+C ends it."""
    import webbrowser

    from factory.cli.review import (
        check_options,
        check_reviewer,
        review_with_model,
        tell_review,
    )
    from factory.evaluate.reference import ImageInput
    from factory.label.server import serve

    import_from_here()
    images = ImageInput(mean, std, size)
    about = {"--model-names": model_names, "--mean/--std/--size": images != ImageInput()}
    check_options(review, model, [option for option, given in about.items() if given])
    if as_json and model is None:
        refuse_json_of_page("a review by a --model")
    spec, labels = load_to_name(segmenter, job, output)
    if review:
        check_reviewer(review, labels)
    if model is not None:
        material = partial(_material_of, spec)
        answer = review_with_model(material, labels, review, model, model_names, images)
        (print_json if as_json else tell_review)(answer)
        return

    def show(address: str) -> None:
        typer.echo(address)  # unredacted: its token opens this run's page
        what = f"verdicts of {review}" if review else "names"
        say(f"{what} are saved to {labels}; Ctrl+C ends")
        if not no_open:
            webbrowser.open(address)

    serve(_material_of(spec), labels, port=port, on_address=show, reviewer=review)


def load_to_name(segmenter: Path, job: Path | None, output: Path | None) -> tuple["JobSpec", Path]:
    """The job without its labels, and the path of the labels file that a person will write.

    Raises:
        JobError: If there is no such file or shipped job, it has a mistake, or `output` lies in a
            dataset.
    """
    from factory.dataset.own_folder import check_outside
    from factory.label.material import load_without_labels
    from factory.spec.shipped import SHIPPED_PREFIX, find_job_file
    from factory.spec.yaml_file import refuse_address

    is_shipped = str(segmenter).startswith(SHIPPED_PREFIX)
    segmenter = find_job_file(segmenter)
    if not segmenter.exists():
        refuse_address(segmenter, noun="segmenter file or job file")
        raise JobError(f"{segmenter}: no such file; give a segmenter file or a job file")
    is_job = segmenter.suffix in _YAML
    job_file = segmenter if is_job else job
    if job_file is None:
        raise JobError(
            f"{segmenter}: a segmenter file does not contain its generator; add the job: "
            f"factory label {segmenter} JOB"
        )
    spec, named = load_without_labels(job_file, None if is_job else segmenter)
    # Names of a shipped job would be written where the package is installed.
    labels = output or (None if is_shipped else named) or Path("labels.yaml")
    check_outside(labels, "-o")
    return spec, labels


def _material_of(spec: "JobSpec") -> "LabelMaterial":
    return draw_material(spec, find_or_fit(spec))


def check_has_report(spec: "JobSpec", *, source: str) -> None:
    """Reject a job whose fit has no report, before it is run. `source` names the job in errors.

    Raises:
        JobError: If there is nothing to draw.
    """
    from factory.label.material import check_has_tree
    from factory.segment.methods import find_method

    if not find_method(spec.dataset.segmenter.kind).report:
        check_has_tree(spec, source=source)


def write_report(spec: "JobSpec", found: "FoundFit", folder: Path, *, err: bool = False) -> None:
    """Write the report of a fit into `folder`: its method's own, or all cuts of its merge tree.

    What it says goes to standard error if `err`.

    Raises:
        JobError: If it cannot be written.
    """
    from factory.label.kept import NUM_SURVEYED
    from factory.label.page import kept_page
    from factory.label.picture import draw_picture
    from factory.label.survey import Survey
    from factory.run.fitting import draw_report

    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = draw_report(spec, found)
    if not files:
        material = draw_material(spec, found)
        say(f"drawing {NUM_SURVEYED} samples for closer looks", err=True)
        survey = Survey(material.renderer, NUM_SURVEYED)
        survey.fill()
        material = replace(material, survey=survey)
        files = {"report.html": kept_page(material), "report.png": draw_picture(material)}
        if material.layers:
            say(material.layers, err=err)
    for name, data in files.items():
        replace_file(folder / name, data)
    say(f"wrote {' and '.join(f'{folder}/{name}' for name in files)}", err=err)


def draw_material(spec: "JobSpec", found: "FoundFit") -> "LabelMaterial":
    """Prepare the merge tree of a fitted segmenter, and samples that show its cuts."""
    from factory.label.gallery import NUM_SAMPLES
    from factory.label.material import make_material
    from factory.run.worker import device_here

    say(f"drawing {NUM_SAMPLES} samples", err=True)
    return make_material(spec, found.weights, found.fitted, device=device_here(spec.run))


def find_or_fit(spec: "JobSpec") -> "FoundFit":
    """The job's fitted segmenter, with a progress bar during the fit; Ctrl+C stops it."""
    from factory.run import fitting
    from factory.run.progress import progress_reporter
    from factory.run.signals import stop_on_signals
    from factory.run.worker import configure_process

    configure_process()
    stop = threading.Event()
    with progress_reporter() as observer, stop_on_signals(stop):
        return fitting.find_or_fit(spec, observer, stop)
