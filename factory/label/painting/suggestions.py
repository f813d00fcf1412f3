"""What a head that learnt from the painted pictures makes of the others, while a person paints.

The head is linear on the generator's feature maps, as that of the fit (`fit/linear.py`), and is fitted
in another way: by logistic regression on two thousand painted pixels, which finds the least loss of
such a head. For the shipped generator that takes half a second, and the fit's epochs of Adam a minute.
"""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from factory.data import IGNORE
from factory.fit.annotations.pictures_file import PicturesFile
from factory.fit.logistic import fit_logistic
from factory.fit.lse import LinearLayers
from factory.fit.painted_maps import generate_maps
from factory.fit.pixels.sampling import read_places
from factory.generate.base import Generator
from factory.identity import counter_rng
from factory.spec import DatasetSpec

FEWEST_PICTURES = 3
"""Painted pictures before anything is suggested."""

_MOST_PIXELS = 2048
"""Pixels that the head learns from: more of them take longer and tell little more."""

_FEWEST_OF_CLASS = 32
"""Pixels of each class of a picture that it learns from, where there are as many."""

_Mask = UInt8[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the head makes of a picture."""

    mask: _Mask
    """Class ids."""
    lead: float
    """How sure it is: the mean lead of the likeliest class over the second, 0 to 1."""


@dataclass(slots=True)
class _Learnt:
    """A head, and what it was asked for so far."""

    key: str
    head: LinearLayers
    known: dict[str, Suggestion]


class Suggestions:
    """Suggests masks for pictures; several threads may ask."""

    def __init__(
        self,
        generator: Generator,
        dataset: DatasetSpec,
        pictures: PicturesFile,
        layers: tuple[str, ...],
        num_classes: int,
    ) -> None:
        """Suggest masks for `pictures` of `dataset`'s generator, by its feature maps `layers`."""
        self._generator, self._dataset, self._layers = generator, dataset, layers
        self._seed, self._num_classes = pictures.seed, num_classes
        self._side = pictures.resolution_px
        self._numbers = {picture.name: picture.number for picture in pictures.pictures}
        self._lock = threading.Lock()
        self._learnt: _Learnt | None = None
        self._rows: dict[str, tuple[str, Tensor, Tensor]] = {}

    def suggest(self, name: str, painted: Mapping[str, _Mask]) -> Suggestion | None:
        """A mask of picture `name` by what is painted on the others; None if that is too little."""
        others = {one: mask for one, mask in painted.items() if one != name}
        with self._lock:
            learnt = self._learn(others)
            return self._ask(learnt, name) if learnt else None

    def least_sure(self, painted: Mapping[str, _Mask]) -> list[str]:
        """The pictures without paint, the one that the head is least sure of first.

        In the order of the manifest as long as too little is painted.
        """
        rest = [name for name in self._numbers if name not in painted]
        with self._lock:
            learnt = self._learn(painted)
            if learnt is None:
                return rest
            return sorted(rest, key=lambda name: self._ask(learnt, name).lead)

    def _learn(self, painted: Mapping[str, _Mask]) -> _Learnt | None:
        """The head that these masks teach; the last one is kept."""
        classes = {int(value) for mask in painted.values() for value in np.unique(mask)} - {IGNORE}
        if len(painted) < FEWEST_PICTURES or len(classes) < 2:
            return None
        key = hashlib.sha256()
        for name in sorted(painted):
            key.update(name.encode() + painted[name].tobytes())
        digest = key.hexdigest()
        if self._learnt is None or self._learnt.key != digest:
            share = _MOST_PIXELS // len(painted)
            rows = [self._read(name, painted[name], share) for name in sorted(painted)]
            vectors, ids = (torch.cat(parts) for parts in zip(*rows, strict=True))
            weights, bias = fit_logistic(vectors, ids, self._num_classes)
            self._learnt = _Learnt(digest, self._head_of(weights, bias), {})
        return self._learnt

    def _head_of(self, weights: Float[Tensor, "k c"], bias: Float[Tensor, " k"]) -> LinearLayers:
        widths = [self._generator.facts.layers[layer].channels for layer in self._layers]
        return LinearLayers(
            [block.contiguous() for block in torch.split(weights, widths, dim=1)],
            torch.ones(len(widths)),
            bias,
        )

    def _read(self, name: str, mask: _Mask, share: int) -> tuple[Tensor, Tensor]:
        """Feature vectors and classes of some painted pixels of a picture."""
        digest = hashlib.sha256(mask.tobytes() + share.to_bytes(4, "big")).hexdigest()
        kept = self._rows.get(name)
        if kept is None or kept[0] != digest:
            rows, columns = np.nonzero(mask != IGNORE)
            ids = mask[rows, columns]
            chosen = _choose(ids, share, self._numbers[name])
            both = np.stack([columns[chosen], rows[chosen]], axis=1)
            places = both.astype(np.float32) * 2 / max(self._side - 1, 1) - 1
            maps = self._maps(name)
            device = maps[0].device
            where = torch.from_numpy(places).to(device)
            read = torch.cat([read_places(one[0], where) for one in maps], dim=1).cpu()
            kept = digest, read, torch.from_numpy(ids[chosen].astype(np.int64))
            self._rows[name] = kept
        return kept[1], kept[2]

    def _ask(self, learnt: _Learnt, name: str) -> Suggestion:
        if name not in learnt.known:
            maps = [one.cpu() for one in self._maps(name)]
            with torch.inference_mode():
                logits = learnt.head.logits(maps, (self._side, self._side))
                best, ids = logits.softmax(dim=1).topk(2, dim=1)
            mask = ids[0, 0].numpy().astype(np.uint8)
            learnt.known[name] = Suggestion(mask, float((best[0, 0] - best[0, 1]).mean()))
        return learnt.known[name]

    def _maps(self, name: str) -> Sequence[Tensor]:
        number = self._numbers[name]
        return generate_maps(self._generator, self._dataset, self._seed, [number], self._layers)[0]


def _choose(ids: UInt8[np.ndarray, " p"], share: int, number: int) -> np.ndarray:
    """Some of a picture's painted pixels at random: `share` of all, and a few of each class at least."""
    order = counter_rng("pixels", number, len(ids)).permutation(len(ids))
    kept = [order[:share]]
    kept += [order[ids[order] == value][:_FEWEST_OF_CLASS] for value in np.unique(ids)]
    return np.unique(np.concatenate(kept))
