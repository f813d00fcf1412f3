"""Review named nodes with a network: compare its predictions at each node's pixels with the name."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from factory.data import IGNORE
from factory.label.render import Renderer
from factory.spec.labels import LabelsSpec, Verdict

Predict = Callable[[int, UInt8[np.ndarray, "s s 3"]], UInt8[np.ndarray, "s s"]]
"""The class ids that a network sees in the image of a sample, given its index too; 255 = none."""

_FEWEST_PIXELS = 100


@dataclass(frozen=True, slots=True)
class NodeReview:
    """A network's verdict on one node."""

    node: int
    """The node."""
    given: str
    """Its name."""
    seen: str
    """The name that the network predicts most often at the node's pixels; empty if there are too few."""
    share: float
    """Share of the node's pixels at which it does."""

    def verdict(self) -> Verdict | None:
        """The verdict; None if there were too few pixels for one."""
        if not self.seen:
            return None
        if self.seen == self.given:
            return Verdict(node=self.node, given=self.given, verdict="confirmed")
        words = {"node": self.node, "given": self.given, "proposed": self.seen}
        return Verdict.model_validate(words | {"verdict": "disputed"})


def review_nodes(
    renderer: Renderer,
    labels: LabelsSpec,
    predict: Predict,
    names: Sequence[Sequence[str]],
    num_samples: int,
) -> list[NodeReview]:
    """Compare the names of all nodes with what a network sees at their pixels.

    Args:
        renderer: Draws the samples, the first of the dataset.
        labels: The names, for the renderer's tree.
        predict: The network.
        names: Names of its classes by id. Several ids may have one name, and one id several names:
            of those it cannot tell apart.
        num_samples: Number of samples.
    """
    nodes = [node for label in labels.labels for node in label.nodes]
    counts = np.zeros((len(nodes), IGNORE + 1), dtype=np.int64)
    for index in range(num_samples):
        image, scores = renderer.render(index, renderer.side)
        winner = scores[nodes].argmax(dim=0).numpy()
        np.add.at(counts, (winner.ravel(), predict(index, image).ravel()), 1)
    given = {node: label.name for label in labels.labels for node in label.nodes}
    return [_review(node, given[node], counts[row], names) for row, node in enumerate(nodes)]


def _review(
    node: int, given: str, counts: Int64[np.ndarray, " ids"], names: Sequence[Sequence[str]]
) -> NodeReview:
    by_name: Counter[str] = Counter()
    for class_id, known in enumerate(names):
        by_name[given if given in known else known[0]] += int(counts[class_id])
    total = int(counts.sum())
    seen, most = by_name.most_common(1)[0]
    if total < _FEWEST_PIXELS or not most:
        return NodeReview(node, given, "", 0.0)
    return NodeReview(node, given, seen, most / total)
