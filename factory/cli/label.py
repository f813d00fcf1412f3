"""The command that names clusters, `label`, and the report that `fit` writes of them."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.shared import import_from_here, one_line_errors
from factory.errors import JobError
from factory.spec import JobSpec
from factory.store.single_file import replace_file, writing_into

if TYPE_CHECKING:
    from factory.generate.weights.find import LocalWeights
    from factory.label.material import LabelMaterial

_YAML = (".yaml", ".yml")


@one_line_errors
def label(
    segmenter: Annotated[
        Path,
        typer.Argument(
            help="Segmenter file of `factory fit -o`, or a job file, whose segmenter is then fitted "
            "unless it was before.",
            metavar="SEGMENTER",
        ),
    ],
    job: Annotated[
        Path | None,
        typer.Argument(
            help="Job that a segmenter file was fitted by: its generator draws the samples.",
            metavar="JOB",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", help="Labels file. Else the one that the job names, or labels.yaml."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,  # noqa: FBT002
) -> None:
    """Name clusters in a local page: choose a cut, name, join, colour, save. Ctrl+C ends it."""
    import webbrowser

    from factory.label.server import serve

    is_job = segmenter.suffix in _YAML
    job_file = segmenter if is_job else job
    if job_file is None:
        raise JobError(
            f"{segmenter}: a segmenter file does not hold its generator; name the job too: "
            f"factory label {segmenter} JOB"
        )
    spec, named = _load_without_labels(job_file, None if is_job else segmenter)
    labels = output or named or Path("labels.yaml")
    weights, fitted, _ = find_or_fit(spec)
    material = draw_material(spec, weights, fitted)

    def show(address: str) -> None:
        typer.echo(f"{address}\nnames go to {labels}; Ctrl+C ends")
        if not no_open:
            webbrowser.open(address)

    serve(material, labels, port=port, on_address=show)


def write_report(material: "LabelMaterial", folder: Path) -> None:
    """Write the page of all cuts and a picture of some into `folder`.

    Raises:
        JobError: If they cannot be written.
    """
    from factory.label.page import kept_page
    from factory.label.picture import draw_picture

    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "report.html", kept_page(material))
    replace_file(folder / "report.png", draw_picture(material))
    typer.echo(f"wrote {folder}/report.html and {folder}/report.png")


def check_has_tree(spec: JobSpec, job: Path) -> None:
    """Say before the fit that it will have nothing to name.

    Raises:
        JobError: If the job's segmenter has no merge tree.
    """
    kind = spec.dataset.segmenter.kind
    if kind != "klish":
        raise JobError(
            f"{job}: dataset.segmenter.kind: found {kind!r}; only klish has a merge tree to look at"
        )


def draw_material(spec: JobSpec, weights: "LocalWeights", fitted: bytes) -> "LabelMaterial":
    """The tree of a fitted segmenter, with samples that show its cuts."""
    from factory.label.gallery import NUM_SAMPLES
    from factory.label.material import make_material
    from factory.run.worker import device_of

    typer.echo(f"drawing {NUM_SAMPLES} samples", err=True)
    return make_material(spec, weights, fitted, device=device_of(spec.run))


def find_or_fit(spec: JobSpec) -> tuple["LocalWeights", bytes, bool]:
    """The generator's weights, the fitted segmenter, and whether it was fitted only now."""
    from factory.fit.fitted import find_fitted
    from factory.generate.weights.find import find_weights
    from factory.run.fitting import fit_for
    from factory.run.progress import progress_reporter
    from factory.run.signals import stop_on_signals
    from factory.run.worker import configure_process

    import_from_here()
    configure_process()
    stop = threading.Event()
    with progress_reporter() as observer, stop_on_signals(stop):
        weights = find_weights(spec.dataset.generator, observer.downloading)
        found = find_fitted(spec.dataset, weights.sha256)
        if found is not None:
            return weights, found, False
        return weights, fit_for(spec, weights, observer.fitting, stop), True


def _load_without_labels(job: Path, fitted: Path | None) -> tuple[JobSpec, Path | None]:
    """The job, with the segmenter in `fitted` if given, and the labels file that it names.

    That file need not be there yet, and may be for another fit: it is what will be written.

    Raises:
        JobError: If the job has a mistake, or its segmenter no merge tree.
    """
    from factory.spec.read import check_job, load_yaml

    document = load_yaml(job, noun="job file", keys="name, dataset, output")
    labels = None
    match document:
        case {"dataset": {"segmenter": {"kind": "klish"} as segmenter}}:
            labels = segmenter.pop("labels", None)
            if fitted is not None:
                settled = ("initial_clusters", "layers", "fit")
                kept = {name: value for name, value in segmenter.items() if name not in settled}
                document["dataset"]["segmenter"] = kept | {"fitted": str(fitted)}
    spec = check_job(document, source=str(job))
    check_has_tree(spec, job)
    return spec, Path(labels) if isinstance(labels, str) else None
