"""KLiSH's merge tree: cuts with any number of classes, each a linear head.

A plane separates one cluster from all other pixels, whatever clusters those belong to. It is therefore
a property of its tree node alone: the planes of any cut, flat or by branch, are those of its nodes, and
no cut needs another fit.

Leaves are numbered from 0 by decreasing size; the cluster made by merge t is node `leaves + t`.
Merging stops at two clusters: their union, all pixels, has no plane.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from factory.errors import JobError
from factory.segment.tree.evidence import Evidence, read_evidence

PLANES_NAME = "merge/planes"
SIZES_NAME = "merge/sizes"
HISTORY_NAME = "merge/history"
MARGINS_NAME = "merge/margins"
"""Names of the four tensors in a segmenter file."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A fitted merge tree."""

    planes: Float32[Tensor, "nodes c1"]
    """One plane per node: weights, channels in the order of the segmenter's layers, then the bias."""
    sizes: Int64[Tensor, " nodes"]
    """Number of fitting pixels of each node."""
    history: Float32[Tensor, "merges 4"]
    """Each merge: the two nodes, the worse separated one first; its cluster IoU; their extended
    cosine similarity."""
    margins: Float32[Tensor, " cuts"]
    """Median lead of the best class over the second on the fitting pixels, in logits, at 2, 3, ...
    classes of the flat cuts."""
    evidence: Evidence | None = None
    """What else the fit measured, if it merged by the robust rule."""

    @property
    def num_leaves(self) -> int:
        """Number of clusters before the first merge."""
        return len(self.history) + 2

    @property
    def num_nodes(self) -> int:
        """Number of leaves and merged clusters."""
        return 2 * self.num_leaves - 2

    def digest(self) -> str:
        """16 hex digits that identify this tree: node ids mean nothing in another one."""
        data = b"".join(t.contiguous().numpy().tobytes() for t in (self.planes, self.history))
        return hashlib.sha256(data).hexdigest()[:16]

    def children(self, node: int) -> tuple[int, int] | None:
        """The two nodes that were merged into `node`; None for a leaf."""
        if node < self.num_leaves:
            return None
        first, second = self.history[node - self.num_leaves, :2].tolist()
        return int(first), int(second)

    def leaves(self, node: int) -> frozenset[int]:
        """The leaves below `node`."""
        pair = self.children(node)
        return frozenset({node}) if pair is None else self.leaves(pair[0]) | self.leaves(pair[1])

    def by_size(self, nodes: Iterable[int]) -> list[int]:
        """Sort `nodes` as unnamed classes are numbered: the largest first, then by id."""
        sizes = self.sizes.tolist()
        return sorted(nodes, key=lambda node: (-sizes[node], node))

    def flat_cut(self, num_classes: int) -> tuple[int, ...]:
        """The nodes that remain when merging has reached `num_classes`, ascending.

        Raises:
            JobError: If it is not 2 to `num_leaves`.
        """
        if not 2 <= num_classes <= self.num_leaves:
            raise JobError(
                f"dataset.segmenter.cut: found {num_classes}; this tree has 2 to {self.num_leaves} "
                "classes"
            )
        alive = set(range(self.num_leaves))
        for merge in range(self.num_leaves - num_classes):
            node = self.num_leaves + merge
            alive -= set(self.children(node) or ())
            alive.add(node)
        return tuple(sorted(alive))

    def image_share(self, nodes: Iterable[int]) -> float | None:
        """The share of the fitting images in which one of `nodes` has a pixel; None if unknown."""
        if self.evidence is None:
            return None
        leaves = sorted({leaf for node in nodes for leaf in self.leaves(node)})
        return float(self.evidence.images[leaves].any(dim=0).double().mean())

    def check_cut(self, nodes: Sequence[int]) -> None:
        """Require that every leaf lies below exactly one of `nodes`.

        Raises:
            JobError: If a node does not exist, or a leaf is missing or covered twice.
        """
        unknown = [node for node in nodes if not 0 <= node < self.num_nodes]
        if unknown:
            raise JobError(
                f"dataset.segmenter.cut: found node {unknown[0]}; this tree has nodes 0 to "
                f"{self.num_nodes - 1}"
            )
        owner: dict[int, int] = {}
        for node in nodes:
            for leaf in sorted(self.leaves(node)):
                if leaf in owner:
                    raise JobError(
                        f"dataset.segmenter.cut: nodes {owner[leaf]} and {node} both hold cluster "
                        f"{leaf}; leave one of them out"
                    )
                owner[leaf] = node
        missing = sorted(set(range(self.num_leaves)) - owner.keys())
        if missing:
            raise JobError(
                f"dataset.segmenter.cut: cluster {missing[0]} lies below none of the {len(nodes)} "
                "nodes; every cluster needs a class: add it, or a node above it"
            )


def read_hierarchy(tensors: dict[str, Tensor]) -> Hierarchy | None:
    """The merge tree in a segmenter file's tensors; None if the method has none."""
    if PLANES_NAME not in tensors:
        return None
    return Hierarchy(
        tensors[PLANES_NAME].to(torch.float32),
        tensors[SIZES_NAME],
        tensors[HISTORY_NAME],
        tensors[MARGINS_NAME],
        read_evidence(tensors),
    )
