"""KLiSH: k-means clusters of feature pixels, merged by linear separability, as a tree of linear heads.

Source: Xu, Zhang and Hu 2023 (TPAMI), "Extracting semantic knowledge from GANs with unsupervised
learning", https://arxiv.org/abs/2211.16710, and the released code. Where we differ: pixels are
sampled at random places instead of taken whole, within a memory budget; truncation and noise are
the job's; `merging.py` says the rest.
"""

from dataclasses import replace

from torch import Tensor

from factory.errors import JobError
from factory.fit.context import FitContext
from factory.fit.kmeans import cluster
from factory.fit.merging import Found, Merged, merge_clusters, read_found
from factory.fit.pixels.budget import plan_sampling
from factory.fit.pixels.sampling import Sampling
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import SegmenterFacts, encode_segmenter, weight_name
from factory.segment.tree.hierarchy import HISTORY_NAME, MARGINS_NAME, PLANES_NAME, SIZES_NAME
from factory.spec import KlishSpec

_SECOND_STAGE = 2**62


def fit_klish(spec: KlishSpec, bench: FitContext, *, weights_sha256: str) -> bytes:
    """Fit on pixels of the generator and return the tree file: all leaves, and the merges.

    Clusters are found on one half of the images and merged on the other; the halves are never held
    together.

    Raises:
        JobError: If there are too few distinct pixels, a layer is unknown, or the pixels do not fit
            the memory they may use.
        Interrupted: If somebody asked to stop; the next fit goes on from the checkpoint.
    """
    sampling = plan_sampling(spec, bench.pool.facts)
    found = read_found(bench.checkpoint.load())
    if found is None:
        bench.sample(sampling, "sampling 1/2")
        found = Found(_leaves(spec, bench))
        bench.checkpoint.save(found.tensors(), now=True)
    bench.sample(replace(sampling, seed=sampling.seed + _SECOND_STAGE), "sampling 2/2")
    merged = merge_clusters(bench, sampling.num_pixels, found)
    return _encode(merged, sampling, spec, bench, weights_sha256)


def _leaves(spec: KlishSpec, bench: FitContext) -> Tensor:
    """Centres of the leaves."""
    try:
        centres, _ = cluster(bench, spec.initial_clusters, spec.fit.seed)
    except JobError as error:
        raise JobError(
            f"dataset.segmenter.initial_clusters: found {spec.initial_clusters}, but the fitting "
            "pixels hold fewer distinct vectors; ask for fewer clusters or fit on more images"
        ) from error
    return centres.cpu()


def _encode(
    merged: Merged, sampling: Sampling, spec: KlishSpec, bench: FitContext, weights_sha256: str
) -> bytes:
    """The tree file: a head of all leaves, in their order, and the tree."""
    tree = merged.hierarchy
    leaves = tree.planes[: tree.num_leaves]
    blocks = sampling.split(leaves[:, :-1])
    facts = SegmenterFacts(
        kind=spec.kind,
        generator_kind=bench.dataset.generator.kind,
        weights_sha256=weights_sha256,
        layers=list(sampling.layers),
        labels=list(unnamed_labels(tree.num_leaves)),
        margin_scale=float(tree.margins[-1]),
        fitted_on={
            "num_images": 2 * sampling.num_images,
            "num_pixels": sampling.num_pixels,
            "num_channels": sampling.num_channels,
            "num_rounds": merged.num_rounds,
            "agreement": round(merged.num_agreed / sampling.num_pixels, 6),
        },
    )
    tensors = {weight_name(name): block for name, block in blocks.items()}
    tensors |= {
        "bias": leaves[:, -1],
        PLANES_NAME: tree.planes,
        SIZES_NAME: tree.sizes,
        HISTORY_NAME: tree.history,
        MARGINS_NAME: tree.margins,
    }
    return encode_segmenter(tensors, facts)
