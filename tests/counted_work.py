"""Work on fitting pixels, counted: numbers that pixels are multiplied with, whatever a machine takes."""

import threading

import pytest
from torch import Tensor

from factory.fit import kmeans
from factory.fit.pixels.part import Part

AN_IMAGE = 100_000.0
"""What an image and its sampled pixels count."""


class CountedWork:
    """Counts what parts and seedings do; as a clock, it stands still when they do nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count from now on."""
        self.done, self._lock = 0.0, threading.Lock()
        for method, cost in COSTS.items():
            monkeypatch.setattr(Part, method, self._counting(getattr(Part, method), cost))
        nearest = self._counting(kmeans.nearest, lambda rows, centres: rows.numel() * len(centres))
        monkeypatch.setattr(kmeans, "nearest", nearest)

    def __call__(self) -> float:
        return self.done

    def _counting(self, work, cost):
        def counting(*args):
            answer = work(*args)
            # What a sampled batch costs is known from its answer, the number of its images.
            units = AN_IMAGE * answer if work.__name__ == "sample" else cost(*args)
            with self._lock:
                self.done += units
            return answer

        return counting


def _planes(part: Part, columns: Tensor, planes: Tensor, stride: int = 1) -> float:
    return part._vectors[::stride].numel() * len(planes)


COSTS = {
    "sample": None,
    "lloyd": lambda part, centres: part._vectors.numel() * len(centres),
    "hinge": lambda *args: 2 * _planes(*args),
    "curve": lambda *args: 3 * _planes(*args),
    "hold_one": lambda part, column, plane: part._vectors.numel() + part._scores.numel(),
    "leads": lambda part, columns, count: min(len(part._scores), count) * len(columns),
}
