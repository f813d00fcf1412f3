"""Agreement of masks with those that other methods make of the same latents.

Where class sets differ, the finer one is merged into the other: each of its classes becomes that class
with which it shares most pixels of some fitting images. One table for each side of a comparison holds
the common class of every mask value; 255 = not compared.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from factory.data import IGNORE, LatentBatch
from factory.errors import DamageError
from factory.generate.base import Generator, GeneratorFacts
from factory.generate.batch import ImageBatch, MaskBatch
from factory.manifest.paths import OPINIONS_PATH
from factory.pack.tar import encode_end, encode_files, read_members
from factory.segment.base import (
    AnySegmenter,
    ChangedSegmenter,
    count_passes,
    load_segmenter,
    segment_images,
)
from factory.spec import AgreementSpec, MethodSettings
from factory.store import Store

_TABLES = "tables.json"
_VALUES = 256

Table = UInt8[np.ndarray, " values"]
"""The common class of every mask value."""


@dataclass(frozen=True, slots=True)
class Matched:
    """The classes of two methods, matched."""

    ours: Table
    """Of the dataset's segmenter."""
    theirs: Table
    """Of the other method."""


def match_classes(
    counts: Int64[np.ndarray, "k m"], ours: Sequence[str], theirs: Sequence[str]
) -> Matched:
    """Match the classes `ours` and `theirs`, which share `counts` pixels of some images.

    By name if both have the same names. Else the classes of the side that has more (theirs if neither
    has) are merged into those of the other; one without a pixel is not compared.
    """
    if set(ours) == set(theirs):
        return Matched(_table(range(len(ours))), _table([ours.index(name) for name in theirs]))
    if len(theirs) >= len(ours):
        return Matched(_table(range(len(ours))), _table(_merged(counts.T)))
    return Matched(_table(_merged(counts)), _table(range(len(theirs))))


def _merged(counts: Int64[np.ndarray, "k m"]) -> list[int]:
    """For each row the column with most pixels, the first of several; 255 for a row without any."""
    return [int(row.argmax()) if row.any() else IGNORE for row in counts]


def _table(classes: Sequence[int]) -> Table:
    table = np.full(_VALUES, IGNORE, dtype=np.uint8)
    table[: len(classes)] = list(classes)
    return table


def count_pairs(
    ours: UInt8[Tensor, "n h w"], theirs: UInt8[Tensor, "n h w"], num_ours: int, num_theirs: int
) -> Int64[np.ndarray, "k m"]:
    """Pixels by class of ours and class of theirs; those that either ignores are left out."""
    claimed = (ours != IGNORE) & (theirs != IGNORE)
    pairs = ours[claimed].long() * num_theirs + theirs[claimed].long()
    counts = torch.bincount(pairs, minlength=num_ours * num_theirs)
    found: np.ndarray = counts.view(num_ours, num_theirs).cpu().numpy()
    return found


class Opinion:
    """Another method, and how its classes are compared."""

    def __init__(self, segmenter: AnySegmenter, matched: Matched, device: torch.device) -> None:
        """Compare with the masks of `segmenter`."""
        self.segmenter = segmenter
        self._ours, self._theirs = (
            torch.from_numpy(table).to(device) for table in (matched.ours, matched.theirs)
        )
        both = np.concatenate([matched.ours, matched.theirs])
        self._classes = sorted({int(value) for value in both} - {IGNORE})

    def agreement(
        self, ours: UInt8[Tensor, "n h w"], theirs: UInt8[Tensor, "n h w"]
    ) -> Float[Tensor, " n"]:
        """Mean IoU of each mask of ours with theirs, over the common classes that either has.

        0 for masks without a pixel that can be compared.
        """
        mine, other = self._ours[ours.long()], self._theirs[theirs.long()]
        compared = (mine != IGNORE) & (other != IGNORE)
        shares, present = [], []
        for class_id in self._classes:
            a, b = (compared & (side == class_id) for side in (mine, other))
            either = (a | b).sum(dim=(1, 2))
            shares.append((a & b).sum(dim=(1, 2)) / either.clamp(min=1))
            present.append(either > 0)
        counts = torch.stack(present).sum(dim=0).clamp(min=1)
        return torch.stack(shares).sum(dim=0) / counts


class ComparedSegmenter(ChangedSegmenter):
    """A segmenter whose masks are compared with those of others, and stay as they are."""

    def __init__(self, inner: AnySegmenter, opinions: Sequence[Opinion]) -> None:
        """Compare what `inner` makes."""
        super().__init__(inner, [name for one in opinions for name in one.segmenter.layers])
        self._opinions = tuple(opinions)

    @property
    def num_passes(self) -> int | None:
        """Forward passes of the generator for an image, its mask and all others; None if unknown."""
        counts = [count_passes(self.inner), *(count_passes(o.segmenter) for o in self._opinions)]
        known = [count for count in counts if count is not None]
        # The image itself is made once.
        return sum(known) - len(self._opinions) if len(known) == len(counts) else None

    def segment_latents(
        self, generator: Generator, latents: LatentBatch, batch: ImageBatch
    ) -> MaskBatch:
        """Masks of the images of `batch`, which `generator` made of `latents`."""
        found = segment_images(self.inner, generator, latents, batch)
        each = []
        for opinion in self._opinions:
            theirs = segment_images(opinion.segmenter, generator, latents, batch)
            each.append(opinion.agreement(found.masks, theirs.masks))
        return replace(found, agreement=torch.stack(each).mean(dim=0))


def encode_opinions(fits: Sequence[bytes], tables: Sequence[Matched]) -> bytes:
    """The file of other methods beside a dataset: their segmenter files, empty without, and tables."""
    listed = [{"ours": one.ours.tolist(), "theirs": one.theirs.tolist()} for one in tables]
    files = [(_TABLES, (json.dumps(listed) + "\n").encode())]
    files += [(f"{place}.safetensors", data) for place, data in enumerate(fits)]
    packed = encode_files(files)
    return packed + encode_end(len(packed))


def load_opinions(
    store: Store, spec: AgreementSpec, facts: GeneratorFacts, device: torch.device
) -> list[Opinion]:
    """Load the other methods beside a dataset.

    Raises:
        DamageError: If their file is missing or damaged.
        JobError, PluginError: If one cannot be built for this generator.
    """
    where = f"{store.uri}/{OPINIONS_PATH}"
    with store.fetch(OPINIONS_PATH) as file:
        if file is None:
            raise DamageError(where=where, found="missing", remedy="run the job again")
        return read_opinions(file, spec, facts, device, source=where)


def read_opinions(
    path: Path, spec: AgreementSpec, facts: GeneratorFacts, device: torch.device, *, source: str
) -> list[Opinion]:
    """Read the file of a dataset's other methods; anybody may have written it.

    Raises:
        DamageError: If it is not one for `spec`.
        JobError, PluginError: If a method cannot be built for this generator.
    """
    try:
        fits, tables = _read(path, len(spec.others))
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise DamageError(
            where=source,
            found="not the other methods of this dataset",
            remedy="`factory repair` removes it, then run the job again",
        ) from error
    return [
        Opinion(load_fitted(other.method, data, facts, device), matched, device)
        for other, data, matched in zip(spec.others, fits, tables, strict=True)
    ]


def load_fitted(
    spec: MethodSettings, fitted: bytes, facts: GeneratorFacts, device: torch.device
) -> AnySegmenter:
    """Build the segmenter of `spec` from its file, empty for a method without.

    Raises:
        JobError, PluginError: If it cannot be built for this generator.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segmenter.safetensors"
        path.write_bytes(fitted)
        return load_segmenter(spec, path if fitted else None, facts, device)


def _read(path: Path, count: int) -> tuple[list[bytes], list[Matched]]:
    members = []
    for member in read_members(path):
        members.append(member)
        if len(members) > count + 1:
            raise ValueError("too many members")
    files = dict(members)
    tables = [
        Matched(*(np.array(one[side], dtype=np.uint8) for side in ("ours", "theirs")))
        for one in json.loads(files[_TABLES])
    ]
    if len(tables) != count or any(
        table.shape != (_VALUES,) for one in tables for table in (one.ours, one.theirs)
    ):
        raise ValueError("other tables")
    return [files[f"{place}.safetensors"] for place in range(count)], tables
