"""The command that names clusters, `label`, and the report that `fit` writes of them."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli_words import import_from_here, one_line_errors, write_file
from factory.errors import JobError
from factory.spec import JobSpec

if TYPE_CHECKING:
    from factory.generate.weights import LocalWeights
    from factory.label.material import Material

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
    labels = output or _labels_named_in(job_file) or Path("labels.yaml")
    material = _find_material(job_file, None if is_job else segmenter)

    def show(address: str) -> None:
        typer.echo(f"{address}\nnames go to {labels}; Ctrl+C ends")
        if not no_open:
            webbrowser.open(address)

    serve(material, labels, port=port, on_address=show)


def write_report(material: "Material", folder: Path) -> None:
    """Write the page of all cuts and a picture of some into `folder`.

    Raises:
        JobError: If they cannot be written.
    """
    from factory.label.page import kept_page
    from factory.label.picture import draw_picture

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"{folder}: cannot write ({error.strerror}); give another folder") from error
    write_file(folder / "report.html", kept_page(material))
    write_file(folder / "report.png", draw_picture(material))
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


def material_of(spec: JobSpec, weights: "LocalWeights", segmenter: Path | bytes) -> "Material":
    """The tree of a segmenter file (or its bytes), with samples that show its cuts."""
    from factory.label.material import make_material
    from factory.run.worker import device_of

    if isinstance(segmenter, Path):
        return make_material(spec, weights, segmenter, device=device_of(spec.run))
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(segmenter)
        file.flush()
        return make_material(spec, weights, Path(file.name), device=device_of(spec.run))


def _find_material(job: Path, file: Path | None) -> "Material":
    """The material of a job, with the segmenter in `file`, or its own: found, or fitted now."""
    from factory.fit.fitted import find_fitted, fit_segmenter
    from factory.generate.weights import find_weights
    from factory.job_file import load_job
    from factory.run.progress import watching
    from factory.run.worker import device_of, settle_process

    spec = load_job(job)
    if file is None:
        check_has_tree(spec, job)
    import_from_here()
    settle_process()
    with watching() as observer:
        weights = find_weights(spec.dataset.generator, observer.downloading)
        found = file or find_fitted(spec.dataset, weights.sha256)
        if found is None:
            device = device_of(spec.run)
            found = fit_segmenter(
                spec.dataset, weights, device=device, on_progress=observer.fitting
            )
    return material_of(spec, weights, found)


def _labels_named_in(job: Path) -> Path | None:
    """The labels file that a job names: reading the job puts its content in place of the path."""
    from factory.job_file import load_yaml

    match load_yaml(job, noun="job file", keys="name, dataset, output"):
        case {"dataset": {"segmenter": {"labels": str(path)}}}:
            return Path(path)
    return None
