"""Estimate how long work on fitting pixels takes, by timing each step on pixels like those of the fit.

What is timed is a call of all parts, by the threads that the fit will use, on about as many pixels. A
call on few pixels of one part, divided by the number of threads, would be too optimistic: the threads
share the memory that the pixels are read from, and every call hands work to them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float32
from torch import Tensor

from factory.fit.cost import Probe
from factory.fit.pixels.ball import find_ball
from factory.fit.pixels.budget import SEEDING_PIXELS
from factory.fit.pixels.components import MOST_COMPONENTS, find_components
from factory.fit.pixels.pool import ThreadedPixelPool
from factory.fit.pixels.sampling import NUM_PARTS, Sampling
from factory.fit.pixels.separation import num_at_once

_MOST_BYTES = 2**26
"""Pixels that work is timed on: more than a processor's cache holds, as of nearly every fit."""
_MOST_SAMPLED = 256
"""Places of each image that pixels are taken from; the others are copies of them."""
_RUNS, _LONG_S = 3, 1.0
_TRIED_CLUSTERS = 8


class Rehearsal:
    """Parts with pixels like those of a fit, whose work is timed."""

    def __init__(self, probe: Probe, sampling: Sampling) -> None:
        """Sample a batch of images on each thread that the fit will use."""
        self._clock, self.sampling = probe.clock, sampling
        self._pool = ThreadedPixelPool(
            probe.generator, probe.dataset, probe.device, probe.num_threads
        )
        parts = self._pool.parts
        lanes = min(probe.num_threads, NUM_PARTS)
        self._pool.parts = parts[:lanes]
        size = probe.dataset.batch_size
        places = min(sampling.pixels_per_image, _MOST_SAMPLED)
        few = replace(sampling, num_images=NUM_PARTS * size, pixels_per_image=places)
        drawn: list[Tensor] = []

        def sample() -> None:
            self._pool.update("sample", few, 0)
            drawn[:] = self._pool.query("spread", size * places)

        self.image_s = self.timed(sample) / (lanes * size)
        """Seconds of an image whose pixels are sampled."""
        self.sampling_s = sampling.num_images * self.image_s
        """Seconds of sampling once, and of shortening what was sampled."""
        self._pool.parts = parts
        self.vectors: Float32[Tensor, "p c"] = torch.cat(drawn)
        """The pixels that were sampled."""
        self.components_s = 0.0
        """Seconds of finding what vectors are shortened to."""
        self._fill()

    def shorten(self) -> None:
        """Have vectors as short as those of the fit, clipped to a ball."""
        if self.vectors.shape[1] > MOST_COMPONENTS:
            copies = self.vectors.repeat(-(-SEEDING_PIXELS // len(self.vectors)), 1).cpu()
            widths = self.sampling.widths
            self.components_s = self.timed(lambda: find_components(copies, widths))
            # Which components does not matter to the time, so that the first channels stand for them.
            away = torch.eye(self.vectors.shape[1], MOST_COMPONENTS, device=self.vectors.device)
            row_s = self.timed(lambda: self.vectors @ away) / len(self.vectors)
            self.sampling_s += row_s * self.sampling.num_pixels
            self.vectors = self.vectors[:, :MOST_COMPONENTS].contiguous()
            self._fill()
        self._pool.update("clip", find_ball(self.vectors))

    def own(self, num_clusters: int) -> None:
        """Give each pixel to a cluster, and each cluster a column of scores."""
        tried = min(_TRIED_CLUSTERS, len(self.vectors))
        self._pool.update("assign", self.vectors[:tried])
        planes = torch.zeros(num_clusters, self.vectors.shape[1] + 1)
        self._pool.update("hold", planes.to(self.vectors.device))

    def seconds(self, method: str, *args: object, most: int | None = None) -> float:
        """Seconds of a call of this method of all parts, over all pixels of the fit.

        `most` is how many pixels of a part the method reads at most.
        """
        wanted, held = self._wanted, self._held
        if most is not None:
            wanted, held = min(wanted, most), min(held, most)
        return self.timed(lambda: self._pool.query(method, *args)) * wanted / held

    def timed(self, work: Callable[[], object]) -> float:
        """Seconds of some work: the middle of three times, or a single time if it is long."""
        times: list[float] = []
        while len(times) < _RUNS:
            started = self._clock()
            work()
            times.append(self._clock() - started)
            if times[-1] > _LONG_S:
                return times[-1]
        return sorted(times)[_RUNS // 2]

    def close(self) -> None:
        """Shut the threads down."""
        self._pool.close()

    def _fill(self) -> None:
        most = _MOST_BYTES // (4 * max(self.vectors.shape[1], 1) * NUM_PARTS)
        self._wanted = max(self.sampling.num_pixels // NUM_PARTS, 1)
        self._held = max(min(self._wanted, most), 1)
        copies = self.vectors.repeat(-(-self._held // len(self.vectors)), 1)[: self._held]
        for part in self._pool.parts:
            part.use(copies.clone())  # memory of its own, as in the fit


@dataclass(frozen=True, slots=True)
class SearchRounds:
    """Newton rounds that the search for a plane takes, for each root of the vectors' length.

    Seen on StyleGAN2, on DCGANs and on the toy: vectors that are longer take more rounds.
    """

    on_all: float
    """On all pixels."""
    on_some: float = 0.0
    """Before those, on every `stride`-th pixel."""
    stride: int = 1
    """See `on_some`."""
    looks: float = 1.6
    """Losses computed in a round: steps that overshoot are halved."""

    def count(self, num_channels: int) -> tuple[float, float]:
        """Rounds on all pixels, and before those on some of them."""
        root = num_channels**0.5
        return self.on_all * root, self.on_some * root


def search_seconds(rehearsal: Rehearsal, num_planes: int, rounds: SearchRounds) -> float:
    """Seconds of a search for some planes at once, of clusters that pixels belong to (`own`)."""
    device, channels = rehearsal.vectors.device, rehearsal.vectors.shape[1]
    planes = torch.zeros(num_planes, channels + 1, device=device)
    columns = torch.zeros(num_planes, dtype=torch.int64, device=device)
    curves = torch.eye(channels + 1, dtype=torch.float64, device=device).repeat(num_planes, 1, 1)
    solve_s = rehearsal.timed(lambda: torch.linalg.solve(curves, planes.double()))
    seconds = 0.0
    for count, stride in zip(rounds.count(channels), (1, rounds.stride), strict=True):
        if count:
            loss_s = rehearsal.seconds("hinge", columns, planes, stride)
            curve_s = rehearsal.seconds("curve", columns, planes, stride)
            seconds += count * (rounds.looks * loss_s + curve_s + solve_s)
    return seconds


def leaves_at_once(num_clusters: int, num_channels: int) -> int:
    """Leaves whose planes are searched together."""
    return min(num_at_once(num_channels), num_clusters)
