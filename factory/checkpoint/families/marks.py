"""Evidence of a family: names of tensors that its generators have and no other network does.

A generator may lie under a prefix, beside a discriminator or an encoder: `generator.mapping.fc0...`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from factory.checkpoint.base import Family
from factory.checkpoint.families.chain import Chain, find_chain

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Mark:
    """Names that only the generators of one program have."""

    family: Family
    program: str
    """Whose names they are; empty for the family's own, which need no translation."""
    names: tuple[str, ...]
    """All of them are there. The first is looked for."""
    kernel: int | None = None
    """Taps of the convolution that is named last."""

    def fits(self, prefix: str, shapes: Shapes) -> bool:
        """Whether such a generator lies below `prefix`."""
        taps = shapes.get(prefix + self.names[-1], ())[2:]
        return all(prefix + name in shapes for name in self.names) and (
            self.kernel is None or taps == (self.kernel, self.kernel)
        )


_MARKS = (
    Mark("stylegan2", "", ("synthesis.b4.const", "mapping.fc0.weight")),
    Mark("stylegan_xl", "",
         ("synthesis.input.freqs", "mapping.fc0.weight", "mapping.embed_proj.weight")),
    Mark("stylegan3", "", ("synthesis.input.freqs", "mapping.fc0.weight")),
    Mark("stylegan2", "rosinality", ("convs.0.conv.modulation.weight", "style.1.weight")),
    Mark("stylegan2", "genforce", ("synthesis.early_layer.const", "mapping.dense0.bias")),
    Mark("biggan_deep_hf", "", ("generator.gen_z.weight_orig", "embeddings.weight")),
    Mark("biggan_ajbrock", "", ("blocks.0.0.conv1.weight", "linear.weight")),
    Mark("stylegan1", "", ("synthesis.layer0.apply_noise.weight", "mapping.dense0.weight")),
    Mark("pggan", "", ("output0.weight", "output1.weight", "layer3.weight", "layer0.weight"), 4),
)  # fmt: skip
"""The first match counts for tensors below one prefix."""

WRAPPERS = ("module", "_orig_mod")
"""What programs put before all names of a network that they run in parallel, or compiled."""
GENERATOR_WORDS = frozenset(("g", "gen", "generator", "gs"))
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_MOST_PREFIXES = 64
_DEEPEST_PREFIX = 3


@dataclass(frozen=True, slots=True)
class Generator:
    """A generator among named tensors."""

    family: Family
    program: str
    prefix: str
    """Prefix of all of its names, with the last dot."""

    def own(self, name: str) -> str | None:
        """The generator's own name of a tensor; None for another network's."""
        return name[len(self.prefix) :] if name.startswith(self.prefix) else None


def find_generators(shapes: Shapes) -> list[Generator]:
    """Every generator among tensors of these names and shapes; usually one or none.

    A chain of transposed convolutions (DCGAN) counts only where no other family is found.
    """
    found: dict[str, Generator] = {}
    for mark in _MARKS:
        for prefix in _prefixes_before(mark.names[0], shapes):
            if mark.fits(prefix, shapes):
                found.setdefault(prefix, Generator(mark.family, mark.program, prefix))
    return list(found.values()) or [
        Generator("dcgan", "", prefix) for prefix, _ in find_chains(shapes)
    ]


def _prefixes_before(ending: str, shapes: Shapes) -> Iterator[str]:
    for name in shapes:
        if name.endswith(ending):
            prefix = name[: len(name) - len(ending)]
            if not prefix or prefix.endswith("."):
                yield prefix


def find_chains(shapes: Shapes) -> Iterator[tuple[str, Chain]]:
    """Prefixes below which all tensors are one chain from a latent to an image, and the chain.

    Unlike names, a chain does not prove a generator: it may be a part of another network, so that the
    prefix must say that a generator follows.
    """
    taken: list[str] = []
    for prefix in _groups(shapes):
        if _names_generator(prefix) and not any(prefix.startswith(other) for other in taken):
            below = {
                name[len(prefix) :]: shape
                for name, shape in shapes.items()
                if name.startswith(prefix)
            }
            chain = find_chain(below)
            if chain is not None:
                taken.append(prefix)
                yield prefix, chain


def _names_generator(prefix: str) -> bool:
    parts = [part for part in prefix.split(".") if part not in ("", *WRAPPERS)]
    return not parts or any(words_of(part) & GENERATOR_WORDS for part in parts)


def words_of(name: str) -> set[str]:
    """The words of a name that programs write: `netG_ema` has net, g and ema."""
    return {word.lower() for word in _WORD.findall(name)}


def _groups(shapes: Shapes) -> list[str]:
    """No prefix, then those that tensors share, from short to long."""
    groups: dict[str, None] = {"": None}
    for depth in range(1, _DEEPEST_PREFIX + 1):
        for name in shapes:
            parts = name.split(".")
            if len(parts) > depth:
                groups.setdefault(".".join(parts[:depth]) + ".")
                if len(groups) >= _MOST_PREFIXES:
                    return list(groups)
    return list(groups)
