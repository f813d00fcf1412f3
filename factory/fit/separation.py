"""Half-spaces that tell each cluster of pixels from all others, and how well they do.

The objective and the two figures of KLiSH: Xu, Zhang and Hu 2023 (TPAMI), "Extracting semantic
knowledge from GANs with unsupervised learning", https://arxiv.org/abs/2211.16710. Nothing here
knows where pixels come from or what is merged.

A plane is a row of channel weights with the bias last; a pixel's score is its side of the plane.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class CentredPixels:
    """Pixels to separate, their mean at the origin, and how they are spread."""

    vectors: Float32[Tensor, "p c"]
    """One row per pixel."""
    root: Float32[Tensor, "c1 c1"]
    """Inverse root of the covariance plus 1 / 2C, and 1 for the bias: see `separate`."""


def centre(vectors: Float32[Tensor, "p c"]) -> tuple[CentredPixels, Float32[Tensor, " c"]]:
    """`vectors` moved, in place, to have their mean at the origin; and where the mean was."""
    mean = vectors.mean(dim=0, dtype=torch.float64).float()
    vectors -= mean
    channels = vectors.shape[1]
    spread = torch.zeros(channels, channels, dtype=torch.float64)
    for rows in torch.split(vectors, _CHUNK):
        spread += rows.T @ rows
    values, axes = torch.linalg.eigh(spread / len(vectors))
    root = torch.eye(channels + 1)
    root[:-1, :-1] = axes * (values.clamp(min=0) + 1 / (2 * PENALTY)).rsqrt() @ axes.T
    return CentredPixels(vectors, root), mean


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
    pixels: CentredPixels,
    ids: Int64[Tensor, " p"],
    classes: Int64[Tensor, " k"],
    start: Float32[Tensor, "k c1"],
) -> tuple[Float32[Tensor, "k c1"], int]:
    """The planes of least `hinge_loss` for `classes`, and the rounds it took to find them.

    L-BFGS from `start`, each plane by itself, until a round gains less than 1e-5 of its loss.
    Where we differ: the search runs in coordinates in which the loss curves alike in every
    direction while all pixels are short of their margin, and it checks its steps; the loss and its
    minimum are the same. The release takes up to 100 unchecked steps with all planes as one point.
    """
    open_ids = torch.arange(len(classes))
    planes = start.clone()
    search = _Search(pixels, ids, classes, start)
    rounds = 0
    while len(open_ids) and rounds < _MOST_ROUNDS:
        gains = search.descend()
        planes[open_ids] = search.planes()
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

    def __init__(self, pixels: CentredPixels, ids: Tensor, classes: Tensor, start: Tensor) -> None:
        self._pixels, self._ids, self._classes = pixels, ids, classes
        self._points: Tensor = torch.linalg.solve(pixels.root, start, left=False)
        self.losses, self._gradients = self._evaluate(self._points, classes)
        self._moves: list[Tensor] = []
        self._changes: list[Tensor] = []

    def planes(self) -> Tensor:
        """The planes as they are now."""
        return self._points @ self._pixels.root

    def keep(self, chosen: Bool[Tensor, " k"]) -> None:
        """Go on with some of the planes only."""
        self._classes, self.losses = self._classes[chosen], self.losses[chosen]
        self._points, self._gradients = self._points[chosen], self._gradients[chosen]
        self._moves = [move[chosen] for move in self._moves]
        self._changes = [change[chosen] for change in self._changes]

    def descend(self) -> Float64[Tensor, " k"]:
        """Take one round and return what each plane's loss gained; 0 where no step helps."""
        way = -self._newton_like(self._gradients)
        slope = (way * self._gradients).sum(dim=1).double()
        points, losses = self._points.clone(), self.losses.clone()
        gradients = self._gradients.clone()
        pending = torch.arange(len(points))
        for halvings in range(_MOST_HALVINGS):
            step = 0.5**halvings
            tried = self._points[pending] + step * way[pending]
            found, slopes = self._evaluate(tried, self._classes[pending])
            is_better = found <= self.losses[pending] + _ARMIJO * step * slope[pending]
            better = pending[is_better]
            points[better], losses[better] = tried[is_better], found[is_better]
            gradients[better] = slopes[is_better]
            pending = pending[~is_better]
            if not len(pending):
                break
        self._moves = [*self._moves, points - self._points][-_HISTORY:]
        self._changes = [*self._changes, gradients - self._gradients][-_HISTORY:]
        gains = self.losses - losses
        self._points, self.losses, self._gradients = points, losses, gradients
        return gains

    def _evaluate(self, points: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        root = self._pixels.root
        losses, gradients = hinge_loss(self._pixels.vectors, self._ids, classes, points @ root)
        return losses, gradients @ root

    def _newton_like(self, gradients: Tensor) -> Tensor:
        """The inverse curvature seen so far, applied to `gradients` (Nocedal 1980, two loops)."""
        way = gradients.clone()
        pairs = [
            (move, change, (move * change).sum(dim=1, keepdim=True))
            for move, change in zip(self._moves, self._changes, strict=True)
        ]
        shares = []
        for move, change, bend in reversed(pairs):
            share = _ratio((move * way).sum(dim=1, keepdim=True), bend)
            way -= share * change
            shares.append(share)
        way /= 2 * PENALTY
        for (move, change, bend), share in zip(pairs, reversed(shares), strict=True):
            way += move * (share - _ratio((change * way).sum(dim=1, keepdim=True), bend))
        return way


def _ratio(top: Tensor, bottom: Tensor) -> Tensor:
    """`top / bottom`, and 0 where a curvature is lost in rounding."""
    return torch.where(bottom > 1e-12, top / bottom.clamp(min=1e-12), 0.0)


def _scored(
    vectors: Tensor, ids: Tensor, planes: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows, ids and scores, some thousand pixels at a time."""
    weights, bias = planes[:, :-1].T, planes[:, -1]
    for rows, labels in zip(torch.split(vectors, _CHUNK), torch.split(ids, _CHUNK), strict=True):
        yield rows, labels, torch.addmm(bias, rows, weights)
