"""Cut a merge tree: choose nodes, take their planes as the rows of a linear head, name the classes.

KLiSH's tree is fitted once (Xu et al., TPAMI 2023, section 3); the paper uses flat cuts only. Ours may
also keep some branches fine and others coarse, or merge nodes that the tree keeps apart: the score of
such a class is the highest score among its nodes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from factory.errors import JobError
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import decode_segmenter, encode_segmenter, weight_name
from factory.segment.tree.hierarchy import Hierarchy, read_hierarchy
from factory.segment.tree.labels_file import check_labels, class_labels
from factory.segment.tree.suggest import suggest_cuts
from factory.spec.klish import KlishSpec


def cut_tree(fitted: bytes, spec: KlishSpec, *, source: str) -> bytes:
    """Make the segmenter file of the cut that `spec` asks for, from the fitted tree.

    `source` names `fitted` in errors.

    Raises:
        JobError: If the tree has no such cut, or the labels are not for this tree.
    """
    tensors, facts = decode_segmenter(fitted, source=source)
    tree = read_hierarchy(tensors)
    if tree is None:
        raise JobError(f"{source}: holds no merge tree; make one with `factory fit`")
    nodes = choose_nodes(tree, spec)
    labels = class_labels(spec.labels) if spec.labels else unnamed_labels(len(nodes))
    # Margins are known for flat cuts; one by branch takes those of the flat cut with as many classes.
    scale = float(tree.margins[len(nodes) - 2])
    cut = facts.model_copy(
        update={
            "labels": list(labels),
            "nodes": nodes,
            # 0 would make every confidence 0 / 0 where two planes score alike.
            "margin_scale": max(scale, torch.finfo(torch.float32).tiny),
        }
    )
    return encode_segmenter(tensors | _head(tensors, facts.layers, tree, nodes), cut)


def choose_nodes(tree: Hierarchy, spec: KlishSpec) -> list[list[int]]:
    """Choose the tree's nodes that make up each class; unnamed classes by decreasing size.

    Raises:
        JobError: If the tree has no such cut, or the labels are not for this tree.
    """
    if spec.labels is not None:
        check_labels(spec.labels, tree)
        return [list(label.nodes) for label in spec.labels.labels]
    if isinstance(spec.cut, list):
        tree.check_cut(spec.cut)
        return [[node] for node in tree.by_size(spec.cut)]
    count = suggest_cuts(tree).num_classes if spec.cut == "auto" else spec.cut
    return [[node] for node in tree.by_size(tree.flat_cut(count))]


def _head(
    tensors: dict[str, Tensor], layers: Sequence[str], tree: Hierarchy, nodes: list[list[int]]
) -> dict[str, Tensor]:
    """Weights (a block per layer) and bias with one row per node, class by class."""
    planes = tree.planes[[node for group in nodes for node in group]]
    names = [weight_name(layer) for layer in layers]
    widths = [tensors[name].shape[1] for name in names]
    blocks = torch.split(planes[:, :-1], widths, dim=1)
    return dict(zip(names, blocks, strict=True)) | {"bias": planes[:, -1]}
