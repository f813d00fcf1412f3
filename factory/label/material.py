"""What lies before a person who names clusters: a merge tree, and samples that show its cuts."""

from dataclasses import dataclass
from pathlib import Path

import torch

from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.weights import LocalWeights
from factory.label.gallery import Gallery, draw_gallery
from factory.segment.hierarchy import Hierarchy, read_hierarchy
from factory.segment.segmenter_file import SegmenterFacts, read_segmenter
from factory.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Material:
    """A tree and its pictures."""

    name: str
    """Name of the job."""
    tree: Hierarchy
    """The merge tree."""
    gallery: Gallery
    """Samples that show its cuts."""


def make_material(
    job: JobSpec,
    weights: LocalWeights,
    file: Path,
    *,
    device: torch.device,
) -> Material:
    """Read the segmenter file and draw the job's first samples.

    Raises:
        JobError: If the file holds no merge tree, or was fitted on another generator.
    """
    tensors, facts = read_segmenter(file)
    tree = read_hierarchy(tensors)
    if tree is None:
        raise JobError(
            f"{file}: holds no merge tree, only {len(facts.labels)} classes of {facts.kind}; fit with "
            "dataset.segmenter.kind: klish"
        )
    _check_generator(job, weights, facts, file)
    generator = load_generator(job.dataset.generator, weights.path, device=device)
    gallery = draw_gallery(generator, job.dataset, tree, facts.layers)
    return Material(job.name, tree, gallery)


def _check_generator(
    job: JobSpec, weights: LocalWeights, facts: SegmenterFacts, file: Path
) -> None:
    fitted = (facts.generator_kind, facts.weights_sha256)
    wanted = (job.dataset.generator.kind, weights.sha256)
    if fitted != wanted:
        raise JobError(
            f"{file}: fitted on {_words(fitted)}, the job has {_words(wanted)}; give the job that it "
            "was fitted by"
        )


def _words(generator: tuple[str, str]) -> str:
    kind, sha256 = generator
    return f"{kind} {sha256[:16]}" if sha256 else kind
