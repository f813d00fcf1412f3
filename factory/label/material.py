"""Data shown on the labelling page: a merge tree, and samples that show its cuts."""

from dataclasses import dataclass
from pathlib import Path

import torch

from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights
from factory.label.gallery import Gallery, draw_gallery
from factory.label.render import Renderer
from factory.label.survey import Survey
from factory.segment.methods import find_method
from factory.segment.segmenter_file import decode_segmenter
from factory.segment.tree.hierarchy import Hierarchy, read_hierarchy
from factory.segment.tree.layer_choice import describe_choice
from factory.spec import METHODS, JobSpec
from factory.spec.anchor import anchor_paths
from factory.spec.read import check_job
from factory.spec.yaml_file import load_yaml


@dataclass(frozen=True, slots=True)
class LabelMaterial:
    """A merge tree with samples."""

    name: str
    """Name of the job."""
    tree: Hierarchy
    """The merge tree."""
    gallery: Gallery
    """Samples that show its cuts."""
    renderer: Renderer
    """Draws any sample of the job again."""
    survey: Survey
    """Figures about classes; empty until it is filled."""
    layers: str = ""
    """Which layers its fit chose by content, in words; empty if the job names them."""


def make_material(
    job: JobSpec, weights: LocalWeights, fitted: bytes, *, device: torch.device
) -> LabelMaterial:
    """Read the fitted segmenter's tree and draw the job's first samples.

    Raises:
        JobError: If there is no merge tree.
    """
    kind = job.dataset.segmenter.kind
    tensors, facts = decode_segmenter(fitted, source=f"segmenter {kind!r}")
    tree = read_hierarchy(tensors)
    if tree is None:
        raise JobError(
            f"segmenter {kind!r}: holds no merge tree, only {len(facts.labels)} classes; name "
            f"clusters of dataset.segmenter.kind: {_methods_with_tree()}"
        )
    generator = load_generator(job.dataset.generator, weights.path, device=device)
    renderer = Renderer(generator, job.dataset, tree, facts)
    layers = describe_choice(facts.layers, facts.fitted_on)
    return LabelMaterial(job.name, tree, draw_gallery(renderer), renderer, Survey(renderer), layers)


def check_has_tree(spec: JobSpec, *, source: str) -> None:
    """Reject a job without a merge tree before its fit is run. `source` names the job in errors.

    Raises:
        JobError: If the job's segmenter has no merge tree.
    """
    kind = spec.dataset.segmenter.kind
    if not find_method(kind).has_tree:
        raise JobError(
            f"{source}: dataset.segmenter.kind: found {kind!r}; only {_methods_with_tree()} has a "
            "merge tree to look at"
        )


def load_without_labels(job: Path, fitted: Path | None) -> tuple[JobSpec, Path | None]:
    """Load the job (with the segmenter in `fitted` if given), and the path of its labels file.

    The labels file is the page's output: it need not exist yet, and may belong to another fit.

    Raises:
        JobError: If the job has a mistake, or its segmenter no merge tree.
        PluginError: If there is no such segmenter.
    """
    document = load_yaml(job, noun="job file", keys="name, dataset, output")
    anchor_paths(document, JobSpec, job.parent)
    labels = None
    match document:
        case {"dataset": {"segmenter": {"kind": str(kind)} as section}}:
            method = find_method(kind)
            settings = section if kind in METHODS else section.setdefault("settings", {})
            if method.has_tree and isinstance(settings, dict):
                labels = settings.pop("labels", None)
                if fitted is not None:
                    for name in method.fit_settings(settings):
                        del settings[name]
                    settings[method.fitted_file] = str(fitted)
    spec = check_job(document, source=str(job))
    check_has_tree(spec, source=str(job))
    return spec, _labels_path(job, labels) if isinstance(labels, str) else None


def _labels_path(job: Path, labels: str) -> Path:
    """Where the labels of `job` are, or will be: beside it, if they are not in the working folder."""
    path, beside = Path(labels), job.parent / labels
    return beside if not path.exists() and beside.parent.is_dir() else path


def _methods_with_tree() -> str:
    return " or ".join(kind for kind, method in METHODS.items() if method.has_tree)
