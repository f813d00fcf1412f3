"""What a checkpoint is once it has been read: tensors, plain settings, and what had to be assumed."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import Tensor

Family = Literal[
    "stylegan2",
    "stylegan3",
    "stylegan_xl",
    "biggan_deep_hf",
    "biggan_ajbrock",
    "stylegan1",
    "pggan",
    "dcgan",
]
"""Generator families whose checkpoints are understood."""

FAMILIES: tuple[Family, ...] = get_args(Family)
"""The names of `Family`, for checks at run time."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One generator as data: nothing of the file it came from was executed."""

    family: Family
    """Which network the tensors belong to."""
    layout: str
    """Which file format they were found in."""
    tensors: dict[str, Tensor]
    """Tensors by the family's one naming."""
    kwargs: dict[str, Any]
    """Constructor settings of the network: plain JSON values."""
    assumptions: list[str] = field(default_factory=list)
    """What the file did not say and was filled in, one sentence each."""
    source_sha256: str = ""
    """SHA-256 of the Python source embedded in the file; empty if it has none."""
    source_length: int = 0
    """Bytes of that source. It is hashed, never parsed."""
    notes: list[str] = field(default_factory=list)
    """What the user should know, such as licence terms or ignored settings."""
    license: str = ""
    """Licence of the weights, as the file states it."""
    attribution: str = ""
    """Line that must go with the generator's images, as the file states it."""
    class_names: list[str] = field(default_factory=list)
    """Names of the classes, as the file states them."""
