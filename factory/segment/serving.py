"""Which methods work on a generator: each names the capabilities that it needs."""

from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.segment.methods import SEGMENTER_SECTION, find_method
from factory.spec.methods import METHODS, NEEDS, Method


def check_generator(kind: str, facts: GeneratorFacts) -> None:
    """Require that a method can work on a generator with `facts`.

    Raises:
        JobError: If it cannot; the message names the methods that can.
    """
    missing = _missing_fact(find_method(kind), facts)
    if missing:
        raise JobError(
            f"{SEGMENTER_SECTION}.kind: found {kind!r}, but this generator has "
            f"no {NEEDS.get(missing, missing)}; methods that work on it: "
            f"{', '.join(find_serving_methods(facts)) or 'none of ours'}"
        )


def find_serving_methods(facts: GeneratorFacts) -> list[str]:
    """The names of our own methods that work on a generator with `facts`, those of heads aside."""
    serving = (name for name, m in METHODS.items() if not _missing_fact(m, facts))
    return sorted(name for name in serving if METHODS[name].can_teach)


def _missing_fact(method: Method, facts: GeneratorFacts) -> str:
    return next((need for need in method.needs if not getattr(facts, need)), "")
