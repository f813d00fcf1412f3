"""Match the dataset's clusters to the reference's classes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from factory.evaluate.contingency import Contingency
from factory.evaluate.metrics import UNASSIGNED


def match_greedy(
    table: Contingency, num_classes: int, num_clusters: int
) -> Int64[np.ndarray, " k"]:
    """Greedy matching: assign clusters to classes as long as the mean IoU increases.

    Each step takes the pair of a class and a free cluster that raises the mean over classes of the
    per-image IoU most; ties go to the lowest class, then to the lowest cluster.

    Returns:
        The class of each cluster; `UNASSIGNED` for one that improves no class.

    Source: Xu, Zhang and Hu 2023 (KLiSH, https://arxiv.org/abs/2211.16710), evaluation code. They
    assign every cluster, even where that hurts, and score on the images they match on.
    """
    assignment = np.full(num_clusters, UNASSIGNED, dtype=np.int64)
    per_class = [_ClassGains(table, class_id, num_clusters) for class_id in range(num_classes)]
    gains = np.stack([class_gains.gains() for class_gains in per_class])
    while True:
        gains[:, assignment != UNASSIGNED] = -np.inf
        class_id, cluster = np.unravel_index(int(gains.argmax()), gains.shape)
        if gains[class_id, cluster] <= 0:
            return assignment
        assignment[cluster] = class_id
        per_class[class_id].assign(int(cluster))
        gains[class_id] = per_class[class_id].gains()


def match_names(classes: Sequence[str], clusters: Sequence[str]) -> Int64[np.ndarray, " k"]:
    """Assign each cluster to the class of the same name; `UNASSIGNED` where there is none."""
    ids = {name: class_id for class_id, name in enumerate(classes)}
    return np.array([ids.get(name, UNASSIGNED) for name in clusters], dtype=np.int64)


class _ClassGains:
    """Intersections and unions of one reference class, updated as clusters are assigned to it.

    Restricted to the images that show the class: the per-image IoU is averaged over these only. Within
    them a cluster changes the IoU only where it occurs, so one entry per (image, cluster) suffices.
    """

    def __init__(self, table: Contingency, class_id: int, num_clusters: int) -> None:
        own = table.truth == class_id
        shown = np.unique(table.image[own])
        near = np.isin(table.image, shown)
        codes, place = np.unique(
            table.image[near] * num_clusters + table.cluster[near], return_inverse=True
        )
        self._image = np.searchsorted(shown, codes // num_clusters)
        self._cluster = codes % num_clusters
        self._found = np.bincount(place, table.counts[near], len(codes))
        self._shared = np.bincount(place[own[near]], table.counts[own], len(codes))
        self._inside = np.zeros(len(shown))
        self._either = np.bincount(self._image, self._shared, len(shown))
        self._num_clusters = num_clusters

    def gains(self) -> Float64[np.ndarray, " k"]:
        """The increase of the class's mean IoU if each cluster were assigned to it."""
        inside, either = self._inside[self._image], self._either[self._image]
        after = (inside + self._shared) / (either + self._found - self._shared)
        sums = np.bincount(self._cluster, after - inside / either, self._num_clusters)
        return sums / max(1, len(self._inside))

    def assign(self, cluster: int) -> None:
        """Assign one more cluster to the class."""
        rows = self._cluster == cluster
        images = self._image[rows]
        self._inside[images] += self._shared[rows]
        self._either[images] += self._found[rows] - self._shared[rows]
