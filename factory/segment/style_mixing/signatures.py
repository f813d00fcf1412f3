"""Signatures of clusters, comparable across images: mean feature vectors, and the nearest prototype."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional


def signatures(
    ids: Int64[Tensor, "h w"], num_clusters: int, features: Mapping[str, Float[Tensor, "_c _h _w"]]
) -> Float[Tensor, "k c"]:
    """The mean feature vector over each cluster of one image, the layers' channels concatenated.

    `ids` are 0 to `num_clusters` - 1. In a layer of another resolution, a pixel counts by the share of
    it that the cluster covers. A cluster without pixels has zeros.
    """
    member = functional.one_hot(ids, num_clusters).permute(2, 0, 1).float()
    # The cluster maps are resampled, not the features: k maps are fewer than hundreds of channels.
    parts = []
    for maps in features.values():
        cover = functional.adaptive_avg_pool2d(member, (maps.shape[1], maps.shape[2])).flatten(1)
        weights = cover / cover.sum(dim=1, keepdim=True).clamp(min=1e-12)
        parts.append(weights @ maps.float().flatten(1).T)
    return torch.cat(parts, dim=1)


def nearest_prototypes(
    found: Float[Tensor, "k c"], prototypes: Float[Tensor, "m c"]
) -> Int64[Tensor, " k"]:
    """The class of each cluster: the prototype nearest to its signature, 0 to m - 1."""
    # argmin |f - p|^2 = argmax (f.p - |p|^2 / 2): no difference of large, nearly equal squares.
    scores = found @ prototypes.T - prototypes.square().sum(dim=1) / 2
    return scores.argmax(dim=1)
