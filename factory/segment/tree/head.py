"""The segmenter `klish`: a `LinearHead` of a cut, with tables that merge its classes afterwards."""

from pathlib import Path

import torch

from factory.generate.base import GeneratorFacts
from factory.segment.linear_head import LinearHead
from factory.segment.segmenter_file import read_segmenter
from factory.segment.tree.coarser import find_coarser
from factory.segment.tree.hierarchy import read_hierarchy
from factory.spec.klish import KlishSpec


class TreeHead(LinearHead):
    """The head of KLiSH; the protocols are `base.Segmenter` and `base.Mergeable`."""

    def __init__(
        self, spec: KlishSpec, fitted: Path | None, facts: GeneratorFacts, device: torch.device
    ) -> None:
        """Load the file `fitted`, as `tree.cut` makes it.

        Raises:
            JobError: If it is damaged, or holds something else.
        """
        super().__init__(spec, fitted, facts, device, ignore_unclaimed=spec.ignore_unclaimed)
        assert fitted is not None  # the head was read from it
        tensors, head = read_segmenter(fitted)
        tree = read_hierarchy(tensors)
        self.coarser = tuple(find_coarser(tree, head.nodes)) if tree else ()
