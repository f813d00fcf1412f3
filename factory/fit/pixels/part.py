"""One part of the fitting pixels: samples them, stores them, and computes sums over them.

The state of a part is determined by its updates (`sample`, `settle`, `project`, `clip`, `assign`,
`hold`, `join`, `hold_one`), so that a lost part is rebuilt by replaying them. Results are small; vectors
never leave the part. Every result is computed on one thread, a few rows at a time, in a fixed order: the
bytes do not depend on the machine.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float32, Float64, Int16, Int64, UInt8
from torch import Tensor

from factory.fit.pixels.ball import Ball
from factory.fit.pixels.sampling import NUM_PARTS, Sampling, read_batch
from factory.generate.base import Generator
from factory.spec import DatasetSpec

LEAST_CURVED = 8
"""Active pixels per channel that the curvature of a plane's loss is taken from, if there are so many.

Four made searches over few pixels end at the most rounds allowed, with four steps rejected in each.
"""

_LEAST_ROWS = 1024
_CHUNK_BYTES = 2**20
_CHUNK_ROWS_GPU = 2**16
_MOST_UINT8 = 256


class Part:
    """The pixels of some batches of fitting images."""

    def __init__(
        self, index: int, generator: Generator, dataset: DatasetSpec, device: torch.device
    ) -> None:
        """Part number `index`, without pixels yet."""
        self._index, self._generator, self._dataset = index, generator, dataset
        self._device = device
        self._filled = 0
        self.use(torch.empty(0, 0, device=device))

    def use(self, vectors: Float32[Tensor, "p c"], pixels_per_image: int = 1) -> None:
        """Take these vectors as the part's pixels, so many of each image after the other."""
        self._vectors, self._pixels_per_image = vectors, pixels_per_image
        self._ball: Ball | None = None
        self._owners = torch.empty(0, dtype=torch.uint8, device=self._device)
        self._scores = torch.empty(0, 0, device=self._device)

    def sample(self, sampling: Sampling, step: int) -> int:
        """Sample the part's batch number `step`; returns its number of images. Step 0 starts over."""
        batches = sampling.batches(self._index, self._dataset.batch_size)
        if step == 0:
            self.use(torch.empty(0, 0, device=self._device))
            rows = _count_images(batches, sampling, self._dataset) * sampling.pixels_per_image
            vectors = torch.empty(rows, sampling.num_channels, device=self._device)
            self.use(vectors, sampling.pixels_per_image)
            self._filled = 0
        if step >= len(batches):
            return 0
        images = read_batch(self._generator, self._dataset, sampling, batches[step])
        for vectors in images:
            self._vectors[self._filled : self._filled + len(vectors)] = vectors
            self._filled += len(vectors)
        return len(images)

    def extent(
        self,
    ) -> tuple[Float32[Tensor, " c"], Float32[Tensor, " c"], Int64[Tensor, " c"]]:
        """Least and largest value of each channel, and how many values are no finite numbers."""
        channels = self._vectors.shape[1]
        least = torch.full((channels,), torch.inf, device=self._device)
        largest = -least
        bad = torch.zeros(channels, dtype=torch.int64, device=self._device)
        for rows, _ in self._chunks():
            bad += (~rows.isfinite()).sum(dim=0)
            torch.minimum(least, rows.amin(dim=0), out=least)
            torch.maximum(largest, rows.amax(dim=0), out=largest)
        return least, largest, bad

    def settle(self, channels: Bool[Tensor, " c"]) -> None:
        """Set channels that are constant to 0, so that nothing is made of how they are rounded."""
        self._vectors[:, channels.to(self._device)] = 0

    def project(self, components: Float32[Tensor, "c d"]) -> None:
        """Replace each vector by its components along orthonormal columns."""
        components = components.to(self._device)
        count, width = len(self._vectors), components.shape[1]
        # Into the front of the same memory, whose rows have been read by then: two copies of the
        # pixels would not fit the memory that the fit may use.
        flat = self._vectors.view(-1)
        for rows, place in self._chunks():
            flat[place.start * width : place.stop * width] = (rows @ components).flatten()
        self._vectors = flat[: count * width].view(count, width)

    def clip(self, ball: Ball) -> None:
        """From now on `assign`, `spread` and `lloyd` see the vectors clipped to `ball`.

        Planes see them as they are, so that a fitted head reads the generator's own features.
        """
        self._ball = ball.to(self._device)

    def assign(self, centres: Float32[Tensor, "k c"]) -> Int64[Tensor, " k"]:
        """Assign each pixel to its nearest centre; returns the number of pixels of each."""
        centres = centres.to(self._device)
        # argmin |x - c|^2 = argmax(x c - |c|^2 / 2): one matrix product, and the form of a linear
        # head.
        bias = -centres.square().sum(dim=1) / 2
        self._owners = torch.empty(len(self._vectors), dtype=torch.uint8, device=self._device)
        for rows, place in self._chunks():
            best = torch.addmm(bias, self._clipped(rows), centres.T).argmax(dim=1)
            self._owners[place] = best.to(torch.uint8)
        return torch.bincount(self._owners.long(), minlength=len(centres))

    def hold(
        self, planes: Float32[Tensor, "k c1"]
    ) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " k"], Float64[Tensor, "k k"], Int64[Tensor, ""]]:
        """Store the scores of all clusters' planes.

        Returns the intersections and unions of each cluster with its plane's inner side, the sums of
        products of memberships, and the number of pixels whose best score is their own cluster's.
        """
        planes = planes.to(self._device)
        count = len(planes)
        self._scores = torch.empty(len(self._vectors), count, device=self._device)
        both, either = torch.zeros(2, count, dtype=torch.int64, device=self._device)
        alike = torch.zeros(count, count, dtype=torch.float64, device=self._device)
        agreed = torch.zeros((), dtype=torch.int64, device=self._device)
        columns = torch.arange(count, device=self._device)
        for rows, place in self._chunks():
            scores = torch.addmm(planes[:, -1], rows, planes[:, :-1].T)
            self._scores[place] = scores
            owners = self._owners[place].long()
            is_member, is_inside = owners[:, None] == columns, scores > 0
            both += (is_member & is_inside).sum(dim=0)
            either += (is_member | is_inside).sum(dim=0)
            agreed += (scores.argmax(dim=1) == owners).sum()
            members = _membership(scores)
            alike += members.T @ members
        return both, either, alike, agreed

    def join(self, first: int, second: int) -> None:
        """Move the pixels of one cluster to another."""
        self._owners[self._owners == first] = second

    def hold_one(
        self, column: int, plane: Float32[Tensor, " c1"]
    ) -> tuple[Int64[Tensor, ""], Int64[Tensor, ""], Float64[Tensor, " k"]]:
        """Replace the scores of one cluster's plane; returns its share of the results of `hold`."""
        # All other scores are kept: a merge changes one plane, so that it costs one column, not
        # all.
        plane = plane.to(self._device)
        both, either = torch.zeros(2, dtype=torch.int64, device=self._device)
        alike = torch.zeros(self._scores.shape[1], dtype=torch.float64, device=self._device)
        for rows, place in self._chunks():
            scores = torch.mv(rows, plane[:-1]) + plane[-1]
            self._scores[place, column] = scores
            is_member, is_inside = self._owners[place] == column, scores > 0
            both += (is_member & is_inside).sum()
            either += (is_member | is_inside).sum()
            alike += torch.mv(_membership(self._scores[place]).T, _membership(scores))
        return both, either, alike

    def spread(self, count: int) -> Float32[Tensor, "p c"]:
        """At most `count` of the vectors, evenly spaced."""
        return self._clipped(self._vectors[_evenly(len(self._vectors), count)])

    def lloyd(
        self, centres: Float32[Tensor, "k c"]
    ) -> tuple[Float64[Tensor, "k c"], Int64[Tensor, " k"], Float64[Tensor, ""]]:
        """Sum and number of the vectors nearest to each centre, and their squared distances."""
        centres = centres.to(self._device)
        bias = -centres.square().sum(dim=1) / 2
        sums = torch.zeros_like(centres)
        sizes = torch.zeros(len(centres), dtype=torch.int64, device=self._device)
        inertia = torch.zeros((), dtype=torch.float64, device=self._device)
        for raw, _ in self._chunks():
            rows = self._clipped(raw)
            ids = torch.addmm(bias, rows, centres.T).argmax(dim=1)
            if (
                rows.is_cuda
            ):  # index_add_ uses atomics there, whose order, and so the sum, is random
                sums += torch.nn.functional.one_hot(ids, len(centres)).T.float() @ rows
            else:
                sums.index_add_(0, ids, rows)
            sizes += torch.bincount(ids, minlength=len(centres))
            inertia += (rows - centres[ids]).square_().sum(dtype=torch.float64)
        return sums.double(), sizes, inertia

    def images_of(self, count: int) -> Bool[Tensor, "k n"]:
        """Which of `count` clusters have a pixel in which of the part's images."""
        owners = self._owners.view(-1, self._pixels_per_image).long()
        found = torch.zeros(len(owners), count, dtype=torch.bool, device=self._device)
        return found.scatter_(1, owners, True).T  # noqa: FBT003 - torch has no keyword for it

    def hinge(
        self, columns: Int64[Tensor, " k"], planes: Float32[Tensor, "k c1"], stride: int = 1
    ) -> tuple[Float64[Tensor, " k"], Float32[Tensor, "k c1"]]:
        """Sums of max(0, 1 - y s)^2 over every `stride`-th pixel, for the planes of some clusters.

        y is 1 for pixels of the plane's cluster and -1 for all others, s is the score. With the
        sums come half their gradients.
        """
        columns, planes = columns.to(self._device), planes.to(self._device)
        losses = torch.zeros(len(planes), dtype=torch.float64, device=self._device)
        slopes = torch.zeros_like(planes)
        for rows, place in self._chunks(stride):
            short, sign = self._shortfall(rows, place, columns, planes)
            losses += short.square().sum(dim=0)
            pull = short.mul_(sign)
            slopes[:, :-1] -= pull.T @ rows
            slopes[:, -1] -= pull.sum(dim=0)
        return losses, slopes

    def curve(
        self, columns: Int64[Tensor, " k"], planes: Float32[Tensor, "k c1"], stride: int = 1
    ) -> tuple[Float32[Tensor, "k c1 c1"]]:
        """Half the second derivatives of the sums that `hinge` gives.

        Exact if fewer than twice `LEAST_CURVED` pixels per channel lie inside the hinge, else
        estimated from so many or more, evenly spaced.
        """
        columns, planes = columns.to(self._device), planes.to(self._device)
        active = torch.zeros(len(planes), len(self._vectors), dtype=torch.bool, device=self._device)
        for rows, place in self._chunks(stride):
            active[:, place] = (self._shortfall(rows, place, columns, planes)[0] > 0).T
        return (torch.stack([self._moments(row) for row in active]),)

    def leads(self, columns: Int64[Tensor, " k"], count: int) -> Float32[Tensor, " p"]:
        """The lead of the best score over the second among `columns`, for `count` pixels."""
        rows = self._scores[_evenly(len(self._scores), count)]
        best = rows[:, columns.to(self._device)].topk(2, dim=1).values
        return best[:, 0] - best[:, 1]

    def ranks(
        self, planes: Float32[Tensor, "k c1"], count: int
    ) -> UInt8[Tensor, "p k"] | Int16[Tensor, "p k"]:
        """How many planes score higher than each, for `count` pixels; of equal ones the first leads."""
        planes = planes.to(self._device)
        rows = self._vectors[_evenly(len(self._vectors), count)]
        order = torch.addmm(planes[:, -1], rows, planes[:, :-1].T).argsort(
            dim=1, descending=True, stable=True
        )
        kind = torch.uint8 if len(planes) <= _MOST_UINT8 else torch.int16
        places = torch.arange(len(planes), dtype=kind, device=self._device)
        return torch.empty_like(order, dtype=kind).scatter_(1, order, places.expand_as(order))

    def _clipped(self, rows: Tensor) -> Tensor:
        # A few rows at a time and never all: a clipped copy would double the memory of the fit.
        return rows if self._ball is None else self._ball.clip(rows)

    def _shortfall(
        self, rows: Tensor, place: slice, columns: Tensor, planes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The hinge max(0, 1 - y s) of each pixel and plane, and the sign y."""
        scores = torch.addmm(planes[:, -1], rows, planes[:, :-1].T)
        sign = torch.where(self._owners[place][:, None] == columns, 1.0, -1.0)
        return (1 - sign * scores).clamp_(min=0), sign

    def _moments(self, active: Tensor) -> Tensor:
        """Sum of x x^T over the active pixels, each with a one appended for the bias."""
        # An evenly spaced subset, scaled up: second derivatives only set the direction of a step,
        # which a line search checks. The minimum itself comes from exact losses and gradients.
        places = active.nonzero()[:, 0]
        channels = self._vectors.shape[1]
        least = max(LEAST_CURVED * channels, _LEAST_ROWS) // NUM_PARTS
        rows = self._vectors[places[:: max(len(places) // least, 1)]]
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        return (rows.T @ rows).mul_(len(places) / max(len(rows), 1))

    def _chunks(self, stride: int = 1) -> Iterator[tuple[Tensor, slice]]:
        """Iterate over blocks of every `stride`-th row that fit the cache, with their positions."""
        count, channels = self._vectors.shape
        rows = max(_CHUNK_BYTES // (4 * max(channels, 1)), 64)
        if self._vectors.is_cuda:
            rows = _CHUNK_ROWS_GPU
        for start in range(0, count, rows * stride):
            place = slice(start, min(start + rows * stride, count), stride)
            yield self._vectors[place], place


def _count_images(batches: range, sampling: Sampling, dataset: DatasetSpec) -> int:
    last = min(batches.stop * dataset.batch_size, sampling.num_images)
    return max(last - batches.start * dataset.batch_size, 0)


def _evenly(count: int, most: int) -> slice:
    """At most `most` of `count` places, evenly spaced."""
    return slice(None, None, max(-(-count // max(most, 1)), 1))


def _membership(scores: Tensor) -> Tensor:
    return scores.clamp(-1, 1).add_(1).div_(2)
