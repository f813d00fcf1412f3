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

DISCRIMINATOR_PREFIX = "discriminator."
"""What the names of a discriminator's tensors begin with in a safetensors file of ours."""


@dataclass(frozen=True, slots=True)
class Discriminator:
    """The discriminator that lies beside a generator: the network that it was trained against."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Tensors, named as NVIDIA's StyleGAN2 names them, without the filters; none if it is `unfit`."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """`img_resolution`, `img_channels`, `c_dim`; `conv_clamp` (null = none); `lr_multiplier` of the
    layers that map a class; `shortcut`: `filtered` (NVIDIA, rosinality) or `pooled` (this package)."""
    unfit: str = ""
    """Why it cannot be used, if it cannot."""


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
    discriminator: Discriminator | None = None
    """The discriminator beside it; None if the file has none, or it was not asked for."""
