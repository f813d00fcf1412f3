"""Half-spaces that tell each cluster of pixels from all others, and how well they do.

The objective and the two figures of KLiSH: Xu, Zhang and Hu 2023 (TPAMI), "Extracting semantic
knowledge from GANs with unsupervised learning", https://arxiv.org/abs/2211.16710. Nothing here
knows where pixels come from or what is merged.

A plane is a row of channel weights with the bias last; a pixel's score is its side of the plane.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

PENALTY = 5000.0
"""Weight C of the hinge against the size of the weights, as published."""

_CHUNK = 8192
_MOST_ROUNDS = 100
_MOST_HALVINGS = 12
_HISTORY = 20
_LEAST_GAIN = 1e-5
_ARMIJO = 1e-4


def hinge_loss(
    vectors: Float32[Tensor, "p c"],
    ids: Int64[Tensor, " p"],
    classes: Int64[Tensor, " k"],
    planes: Float32[Tensor, "k c1"],
) -> tuple[Float64[Tensor, " k"], Float32[Tensor, "k c1"]]:
    """Loss of each plane and its gradient: |w|^2 / 2 + C / p * sum(max(0, 1 - y s)^2).

    y is 1 for pixels whose id is the plane's class and -1 for all others. The published loss is the
    mean over planes; no plane's loss depends on another's, so each is kept by itself.
    """
    losses = torch.zeros(len(planes), dtype=torch.float64)
    gradients = torch.zeros_like(planes)
    for rows, labels, scores in _scored(vectors, ids, planes):
        sign = torch.where(labels[:, None] == classes, 1.0, -1.0)
        short = (1 - sign * scores).clamp_(min=0)
        losses += short.square().sum(dim=0)
        pull = short.mul_(sign)
        gradients[:, :-1] -= pull.T @ rows
        gradients[:, -1] -= pull.sum(dim=0)
    scale = PENALTY / len(vectors)
    weights = planes[:, :-1]
    losses = losses * scale + weights.double().square().sum(dim=1) / 2
    gradients *= 2 * scale
    gradients[:, :-1] += weights
    return losses, gradients


def separate(
    vectors: Float32[Tensor, "p c"],
    ids: Int64[Tensor, " p"],
    classes: Int64[Tensor, " k"],
    start: Float32[Tensor, "k c1"],
) -> tuple[Float32[Tensor, "k c1"], int]:
    """The planes of least `hinge_loss` for `classes`, and the rounds it took to find them.

    L-BFGS from `start`, each plane by itself, until a round gains less than 1e-5 of its loss. Where
    we differ: steps are shortened until the loss falls. The release takes up to 100 steps of length
    one with all planes as a single point, and stops when no weight moves by 1e-4.
    """
    open_ids = torch.arange(len(classes))
    planes = start.clone()
    search = _Search(vectors, ids, classes, start)
    rounds = 0
    while len(open_ids) and rounds < _MOST_ROUNDS:
        gains = search.descend()
        planes[open_ids] = search.planes
        is_open = gains > _LEAST_GAIN * search.losses
        open_ids = open_ids[is_open]
        search.keep(is_open)
        rounds += 1
    return planes, rounds


def measure(
    vectors: Float32[Tensor, "p c"],
    ids: Int64[Tensor, " p"],
    planes: Float32[Tensor, "k c1"],
) -> tuple[Float64[Tensor, " k"], Float64[Tensor, "k k"]]:
    """How well planes fit the clusters, and how alike the clusters are to them, each 0 to 1.

    First the cluster IoU of a cluster and the pixels on its plane's inner side; second the extended
    cosine similarity of memberships (clip(score, -1, 1) + 1) / 2. Both are 0 where nothing is.
    """
    classes = torch.arange(len(planes))
    both, either = torch.zeros(2, len(planes), dtype=torch.int64)
    alike = torch.zeros(len(planes), len(planes), dtype=torch.float64)
    for _, labels, scores in _scored(vectors, ids, planes):
        is_member, is_inside = labels[:, None] == classes, scores > 0
        both += (is_member & is_inside).sum(dim=0)
        either += (is_member | is_inside).sum(dim=0)
        membership = scores.clamp_(-1, 1).add_(1).div_(2)
        alike += membership.T @ membership
    norms = alike.diagonal().sqrt()
    cosine = alike / (norms[:, None] * norms).clamp(min=torch.finfo(torch.float64).tiny)
    return both / either.clamp(min=1).double(), cosine


class _Search:
    """L-BFGS for several planes at once: each has its own loss, curvature and step length."""

    def __init__(self, vectors: Tensor, ids: Tensor, classes: Tensor, start: Tensor) -> None:
        self._vectors, self._ids, self._classes = vectors, ids, classes
        self.planes = start
        self.losses, self._gradients = hinge_loss(vectors, ids, classes, start)
        steepest = 1 + 2 * PENALTY * (1 + _mean_square(vectors))
        self._scale = torch.full((len(start), 1), 1 / steepest)
        self._moves: list[Tensor] = []
        self._changes: list[Tensor] = []

    def keep(self, chosen: Bool[Tensor, " k"]) -> None:
        """Go on with some of the planes only."""
        self._classes, self.losses = self._classes[chosen], self.losses[chosen]
        self.planes, self._gradients = self.planes[chosen], self._gradients[chosen]
        self._scale = self._scale[chosen]
        self._moves = [move[chosen] for move in self._moves]
        self._changes = [change[chosen] for change in self._changes]

    def descend(self) -> Float64[Tensor, " k"]:
        """Take one round and return what each plane's loss gained; 0 where no step helps."""
        way = self._downhill()
        slope = (way * self._gradients).sum(dim=1).double()
        planes, losses, gradients = (
            self.planes.clone(),
            self.losses.clone(),
            self._gradients.clone(),
        )
        pending = torch.arange(len(planes))
        for halvings in range(_MOST_HALVINGS):
            step = 0.5**halvings
            tried = self.planes[pending] + step * way[pending]
            found, slopes = hinge_loss(self._vectors, self._ids, self._classes[pending], tried)
            is_better = found <= self.losses[pending] + _ARMIJO * step * slope[pending]
            better = pending[is_better]
            planes[better], losses[better] = tried[is_better], found[is_better]
            gradients[better] = slopes[is_better]
            pending = pending[~is_better]
            if not len(pending):
                break
        gains = self.losses - losses
        self._learn(planes - self.planes, gradients - self._gradients)
        self.planes, self.losses, self._gradients = planes, losses, gradients
        return gains

    def _learn(self, move: Tensor, change: Tensor) -> None:
        bend, square = _dot(move, change), _dot(change, change)
        self._scale = torch.where(bend > 0, _ratio(bend, square), self._scale)
        self._moves = [*self._moves, move][-_HISTORY:]
        self._changes = [*self._changes, change][-_HISTORY:]

    def _downhill(self) -> Tensor:
        """Against the gradients, bent by the curvature seen so far (Nocedal 1980, two loops)."""
        way = -self._gradients
        pairs = [
            (move, change, _dot(move, change))
            for move, change in zip(self._moves, self._changes, strict=True)
        ]
        shares = []
        for move, change, bend in reversed(pairs):
            share = _ratio(_dot(move, way), bend)
            way = way - share * change
            shares.append(share)
        way = way * self._scale
        for (move, change, bend), share in zip(pairs, reversed(shares), strict=True):
            way = way + move * (share - _ratio(_dot(change, way), bend))
        return way


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=1, keepdim=True)


def _ratio(top: Tensor, bottom: Tensor) -> Tensor:
    """`top / bottom`, and 0 where nothing moved."""
    return torch.where(bottom > 0, top / bottom, 0.0)


def _mean_square(vectors: Tensor) -> float:
    """Mean squared length; with 1 for the bias it bounds how fast the hinge's slope can change."""
    total = sum(float(rows.square().sum()) for rows in torch.split(vectors, _CHUNK))
    return total / len(vectors)


def _scored(
    vectors: Tensor, ids: Tensor, planes: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows, ids and scores, some thousand pixels at a time."""
    weights, bias = planes[:, :-1].T, planes[:, -1]
    for rows, labels in zip(torch.split(vectors, _CHUNK), torch.split(ids, _CHUNK), strict=True):
        yield rows, labels, torch.addmm(bias, rows, weights)
