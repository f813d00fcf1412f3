"""The result of reading a checkpoint: tensors, plain settings, and the assumptions that were made."""

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
    """One generator as plain data; no code of the file was executed."""

    family: Family
    """Which network the tensors belong to."""
    layout: str
    """Which file format they were found in."""
    tensors: dict[str, Tensor]
    """Tensors, named as the family's reference program names them."""
    kwargs: dict[str, Any]
    """Constructor settings of the network: plain JSON values."""
    assumptions: list[str] = field(default_factory=list)
    """Values that the file does not state and that were filled in, one sentence each."""
    source_sha256: str = ""
    """SHA-256 of the Python source embedded in the file; empty if it has none."""
    source_length: int = 0
    """Bytes of that source. It is hashed, never parsed."""
    notes: list[str] = field(default_factory=list)
    """Notes for the user, such as licence terms or ignored settings."""
    license: str = ""
    """Licence of the weights, as the file states it."""
    attribution: str = ""
    """Attribution that must accompany the generator's images, as the file states it."""
    class_names: list[str] = field(default_factory=list)
    """Names of the classes, as the file states them."""
    warnings: list[str] = field(default_factory=list)
    """What is probably not as intended, such as a latent of an unusual width."""
