"""What lies before a person who names clusters: a merge tree, and samples that show its cuts."""

from dataclasses import dataclass

import torch

from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights
from factory.label.gallery import Gallery, draw_gallery
from factory.segment.segmenter_file import decode_segmenter
from factory.segment.tree.hierarchy import Hierarchy, read_hierarchy
from factory.spec import JobSpec


@dataclass(frozen=True, slots=True)
class LabelMaterial:
    """A tree and its pictures."""

    name: str
    """Name of the job."""
    tree: Hierarchy
    """The merge tree."""
    gallery: Gallery
    """Samples that show its cuts."""


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
            "clusters of dataset.segmenter.kind: klish"
        )
    generator = load_generator(job.dataset.generator, weights.path, device=device)
    gallery = draw_gallery(generator, job.dataset, tree, facts.layers)
    return LabelMaterial(job.name, tree, gallery)
