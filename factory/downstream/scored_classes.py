"""Which classes are scored, and what the network's classes are among them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from factory.data import IGNORE
from factory.downstream.pictures import OPTION
from factory.downstream.score_settings import ScoreSettings
from factory.errors import JobError, did_you_mean

_TWO_CLASSES = ("feng2023", "melas2022")


@dataclass(frozen=True, slots=True)
class ScoredClasses:
    """The classes that are scored."""

    names: tuple[str, ...]
    """Their names, by id."""
    background: int
    """Id of the background."""
    of_truth: UInt8[np.ndarray, " 256"]
    """Id of each value of the pictures' masks; 255 stays."""
    num_values: int
    """Values that the masks may have, beside 255."""
    parts: dict[str, tuple[int, ...]]
    """What is scored: each class, and each union, with its ids."""

    @property
    def objects(self) -> tuple[int, ...]:
        """All ids but the background's."""
        return tuple(k for k in range(len(self.names)) if k != self.background)


def find_classes(own_names: Sequence[str], settings: ScoreSettings) -> ScoredClasses:
    """The classes of pictures with masks of the names `own_names`, as the protocol scores them.

    Raises:
        JobError: If the masks' classes have no names, or a name is none of them.
    """
    names = settings.reference_names or tuple(own_names)
    if not names:
        raise JobError(
            where=OPTION,
            found="the masks' classes have no names",
            remedy="give --reference-names background,...: one name for each value, from 0",
        )
    if len(names) > IGNORE or len(set(names)) < len(names) or "" in names:
        raise JobError(
            where="--reference-names", found="a name twice, or empty", allowed="one for each value"
        )
    ground = names.index(_known(settings.background or names[0], names, "--background"))
    table = np.arange(IGNORE + 1, dtype=np.uint8)
    if settings.protocol in _TWO_CLASSES:
        if settings.unions:
            raise JobError(
                where="--union",
                found=f"of {settings.protocol}, which knows foreground and background alone",
                remedy="leave one of the two out",
            )
        table[: len(names)] = 1
        table[ground] = 0
        both = ("background", "foreground")
        return ScoredClasses(both, 0, table, len(names), {both[0]: (0,), both[1]: (1,)})
    parts: dict[str, tuple[int, ...]] = {name: (k,) for k, name in enumerate(names)}
    for union, members in settings.unions.items():
        if union in parts or not members:
            raise JobError(where="--union", found=f"{union!r}", allowed="a new name and classes")
        ids = {names.index(_known(member, names, f"--union {union}")) for member in members}
        parts[union] = tuple(sorted(ids))
    return ScoredClasses(names, ground, table, len(names), parts)


def match_classes(
    model_names: Sequence[str],
    own_names: Sequence[str],
    scored: ScoredClasses,
    settings: ScoreSettings,
) -> UInt8[np.ndarray, " 256"] | None:
    """The scored class of each class of the network: by `--map`, then by equal names.

    Of the protocols with two classes, a network without common names has its class 0 as background.

    Returns:
        The table; None if the protocol matches greedily, and no name says more.

    Raises:
        JobError: If a name in `--map` is unknown, or no class fits.
    """
    names = settings.reference_names or tuple(own_names)
    wanted = {name: name for name in model_names if name in names}
    for given, target in settings.mapping.items():
        _known(given, model_names, "--map", "the network's classes")
        wanted[given] = _known(target, names, "--map", "the masks' classes")
    table = np.full(IGNORE + 1, IGNORE, dtype=np.uint8)
    table[: len(model_names)] = scored.background
    for given, target in wanted.items():
        table[model_names.index(given)] = scored.of_truth[names.index(target)]
    if (table[: len(model_names)] != scored.background).any():
        return table
    if settings.protocol == "klish2023":
        return None
    if settings.protocol in _TWO_CLASSES and len(model_names) > 1:
        table[1 : len(model_names)] = 1
        return table
    raise JobError(
        where="--map",
        found=f"no class of the network ({', '.join(model_names)}) is one of the masks' "
        f"({', '.join(names)}) beside the background",
        remedy="give --map NETWORK=MASK,...",
    )


def _known(name: str, names: Sequence[str], where: str, whose: str = "the classes") -> str:
    if name in names:
        return name
    raise JobError(
        where=where,
        found=f"found {name[:80]!r}",
        allowed=f"{whose} are {', '.join(names)}",
        remedy=did_you_mean(name, names),
    )
