"""Find the one generator in a file: the averaged one (EMA) where there are several.

Files of a training hold a generator twice, as trained and as averaged, and the averaged one is the
one that people publish pictures of. It is recognised by the words of its keys or prefixes.
"""

from dataclasses import dataclass

from factory.checkpoint.families.containers import Containers, Leaf, Route, shape_of, tensor_of
from factory.checkpoint.families.marks import (
    GENERATOR_WORDS,
    WRAPPERS,
    Generator,
    find_generators,
    words_of,
)
from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.pickles.nodes import TensorView
from factory.checkpoint.pickles.source import SAVE_ALONE, Budget, refuse, shown
from factory.errors import UnknownGeneratorError

_LAST_OF_TUPLE = "the last of several generators in a row is the averaged one, as in (G, D, G_ema)"
NO_AVERAGE = "the file has no averaged generator (G_ema): the one in training is used"

_AVERAGE_WORDS = frozenset(
    ("average", "averaged", "averaging", "avg", "ema", "gs", "polyak", "shadow", "smooth", "swa")
)
_RAW_WORDS = frozenset(("online", "raw", "current"))
_KEYS = (
    "g_ema", "G_ema", "netG_ema", "generator_smooth", "generator_ema", "params_ema", "ema",
    "models", "generator", "netG_state_dict", "G_state_dict", "generator_state_dict", "state_dict",
    "model_state_dict", "netG", "g", "G", "params", "model", "gan",
)  # fmt: skip
"""Keys that programs use, the most specific first; they break ties."""
_MOST_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Candidate:
    """A generator in one of the file's dicts."""

    route: Route
    generator: Generator
    leaves: dict[str, Leaf]
    """Its tensors, by its own names."""

    @property
    def path(self) -> Route:
        """The keys and prefixes that lead to it, without those of wrappers."""
        prefix = tuple(filter(None, self.generator.prefix.split(".")))
        return tuple(part for part in (*self.route, *prefix) if part not in WRAPPERS)

    @property
    def is_averaged(self) -> bool:
        """Whether its keys say that its weights are an average over the training; the last counts."""
        told = [
            bool(words & _AVERAGE_WORDS)
            for part in self.path
            if (words := words_of(part)) & (_AVERAGE_WORDS | _RAW_WORDS)
        ]
        return told[-1] if told else False

    @property
    def is_trained(self) -> bool:
        """Whether its last key says that its weights are those in training."""
        return bool(self.path) and bool(words_of(self.path[-1]) & GENERATOR_WORDS)

    @property
    def rank(self) -> tuple[bool, int]:
        """Lower is better: averaged ones first, then keys that programs use."""
        known = [_KEYS.index(part) for part in self.path if part in _KEYS]
        return not self.is_averaged, min(known, default=len(_KEYS))


@dataclass(frozen=True, slots=True)
class Choice:
    """The generator of a file."""

    generator: Generator
    state: StateDict
    path: Route
    """The keys that lead to it."""
    assumptions: list[str]
    notes: list[str]
    warnings: list[str]


def choose_generator(containers: Containers, budget: Budget) -> Choice:
    """The generator's tensors, copied out of the file; averaged ones before those in training.

    Raises:
        UnknownGeneratorError: If no group of tensors is a known generator.
        WeightsError: If several are, and nothing says which is meant.
    """
    candidates = _candidates(containers, budget)
    if not candidates:
        _refuse_unknown(containers, budget.file)
    best = min(candidates, key=lambda candidate: candidate.rank)
    rivals = [other for other in candidates if other.rank == best.rank and not _same(other, best)]
    last = _last_of_tuple([best, *rivals]) if rivals else None
    if last is not None:
        best, rivals = last, []
    if rivals:
        names = [_shown_path(candidate) for candidate in (best, *rivals)][:_MOST_SHOWN]
        refuse(budget.file, f"{1 + len(rivals)} generators ({', '.join(names)})",
               "one is allowed, or an averaged one (ema) beside others", SAVE_ALONE)  # fmt: skip
    tensors = {name: tensor_of(leaf, budget) for name, leaf in best.leaves.items()}
    centre = containers.beside(best.route, "latent_avg")
    extras = {} if centre is None else {"latent_avg": tensor_of(centre, budget)}
    is_raw = best.is_trained and not best.is_averaged
    assumptions = [NO_AVERAGE] if is_raw else []
    return Choice(
        best.generator,
        StateDict(budget.file, tensors, extras),
        best.path,
        [_LAST_OF_TUPLE] if last is not None else assumptions,
        _notes(best, candidates),
        _warnings(best, containers),
    )


def _last_of_tuple(equals: list[Candidate]) -> Candidate | None:
    """The last of generators that lie in one tuple or list, as in (G, D, G_ema); else None."""
    around = {candidate.route[:-1] for candidate in equals}
    are_places = all(one.route and one.route[-1].isdecimal() for one in equals)
    if len(around) != 1 or not are_places or any(one.generator.prefix for one in equals):
        return None
    return max(equals, key=lambda one: int(one.route[-1]))


def _candidates(containers: Containers, budget: Budget) -> list[Candidate]:
    found = []
    for group in containers.groups:
        budget.spend_steps(len(group.leaves), "the content")
        shapes = {name: shape_of(leaf) for name, leaf in group.leaves.items()}
        generators = find_generators(shapes)
        for generator in generators:
            inner = tuple(
                other.prefix
                for other in generators
                if other is not generator and other.prefix.startswith(generator.prefix)
            )
            leaves = {
                own: leaf
                for name, leaf in group.leaves.items()
                if (own := generator.own(name)) is not None
                and not (inner and name.startswith(inner))
            }
            found.append(Candidate(group.route, generator, leaves))
    tellers = [candidate for candidate in found if candidate.generator.family != "dcgan"]
    return tellers or found


def _same(one: Candidate, other: Candidate) -> bool:
    """Whether two names lead to the same tensors, as when a module is registered twice."""

    def places(candidate: Candidate) -> dict[str, object]:
        return {
            name: (id(leaf.storage), leaf.offset) if isinstance(leaf, TensorView) else id(leaf)
            for name, leaf in candidate.leaves.items()
        }

    return places(one) == places(other)


def _notes(best: Candidate, candidates: list[Candidate]) -> list[str]:
    others = [_shown_path(other) for other in candidates if not _same(other, best)]
    if not best.is_averaged or not others:
        return []
    beside = ", ".join(others[:_MOST_SHOWN])
    return [f"the averaged weights ({_shown_path(best)}) are used; beside them: {beside}"]


def _warnings(best: Candidate, containers: Containers) -> list[str]:
    lists = [route for route in containers.unnamed if any(map(_is_average_key, route))]
    if not lists or best.is_averaged:
        return []
    return [
        f"averaged weights lie in {shown('.'.join(lists[0]))} as a list without names, and are not "
        "used: those in training are; save the averaged generator's state_dict()"
    ]


def _is_average_key(key: str) -> bool:
    return bool(words_of(key) & _AVERAGE_WORDS)


def _shown_path(candidate: Candidate) -> str:
    return shown(".".join(candidate.path) or "the state dict", 60)


def _refuse_unknown(containers: Containers, file: str) -> None:
    names = [name for group in containers.groups for name in group.leaves]
    if not names:
        keys = ", ".join(shown(key, 20) for key in containers.keys[:8])
        found = f"a dict of {keys}" if keys else "an object"
        refuse(
            file, f"no generator was found: {found} without a generator network or its tensors",
            f"a state dict is allowed, alone or under {', '.join(_KEYS[:9])}, ...", SAVE_ALONE,
        )  # fmt: skip
    listed = ", ".join(shown(name, 60) for name in names[:4])
    raise UnknownGeneratorError(
        f"{file}: tensors of no known family ({listed}, {len(names)} in all); `factory generators` "
        "lists the families; for another network write a plugin: `factory inspect` lists its tensors "
        "and prints a template"
    )
