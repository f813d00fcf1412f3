"""The exception hierarchy. Each class has the exit code that the command line returns for it.

    FactoryError 1
    ├── JobError 2           the job file, or a setting in it, is wrong
    │   └── WeightsError 2   the generator's weights are missing, changed or unreadable
    │       ├── MissingWeightsError 2    ... they are not on this machine
    │       └── UnknownGeneratorError 2  ... they are whole, and of no family that is known
    ├── PluginError 3        a generator, segmenter or executor is unknown or cannot be used here
    ├── ShardError 4         one shard could not be made
    │   └── RetryableError 4 ... for a reason that may pass: another worker may try again
    │       └── PreemptedError 4 ... and that says nothing about the shard: it does not count
    ├── IncompleteError 5    the run ended with shards missing
    ├── StoreError 6         the output cannot be read or written, or belongs to another dataset
    │   ├── UnreachableError 6   ... because its server does not answer or does not let us in
    │   └── DamageError 7        ... because a file of the dataset is not what it must be
    └── Interrupted 75       stopped by a signal; running the same command again resumes

A message is a sentence with four parts, `where: found; allowed; remedy`, and an error carries these
parts as fields, so that no program parses the sentence. The fields survive a process boundary. They are
redacted: they contain no credentials of an address and no control characters.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from factory.redact import shown

ProblemKind = Literal[
    "missing", "changed", "contents", "table", "no_receipt", "receipt", "snapshot", "manifest",
    "unfinished", "outdated", "different",
]  # fmt: skip
"""Kinds of problems of a file of a dataset, for `factory verify`, `repair` and `gc`."""


def sentence(where: str, found: str, allowed: str = "", remedy: str = "") -> str:
    """`where: found; allowed; remedy`, without the parts that are empty."""
    text = "; ".join(part for part in (found, allowed, remedy) if part)
    return f"{where}: {text}" if where else text


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` may be a misspelling of, in whatever case; empty if none is near."""
    by_folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[near[0]] if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question for a misspelt name; empty if no known one is near."""
    near = closest(name, known)
    return f"did you mean {near!r}?" if near else ""


def _keep_shown(problem: Any, but: str = "") -> None:  # noqa: ANN401 - one of the dataclasses below
    """Redact the texts of a frozen dataclass during its construction, `but` one field."""
    for name in (field.name for field in fields(problem) if field.name != but):
        object.__setattr__(problem, name, shown(getattr(problem, name)))


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with a file of a dataset; `str()` gives the line for display."""

    path: str
    """The file, relative to the dataset's root: its name as it is, by which it is removed."""
    kind: ProblemKind
    """What is wrong with it, as a word for programs."""
    found: str
    """What was found, and what was expected."""
    remedy: str = ""
    """What to do."""
    sample: str = ""
    """Key of the sample in the file; empty if the whole file is meant."""

    def __post_init__(self) -> None:
        """Keep what may be shown of each part but the name: another name would be another file."""
        _keep_shown(self, but="path")

    @property
    def finding(self) -> str:
        """What was found, and in which sample: the line without the file and the remedy."""
        return f"sample {self.sample}: {self.found}" if self.sample else self.found

    def __str__(self) -> str:
        """The line: `path: sample KEY: found; remedy`."""
        return sentence(shown(self.path), self.finding, remedy=self.remedy)


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """An invalid setting; `str()` gives the line for display."""

    path: str
    """Dotted path of the setting."""
    kind: Literal["unknown_key", "gone", "missing", "value", "unusable", "node"]
    """What is wrong with it, as a word for programs."""
    found: str
    """What was found; a value as Python writes it."""
    allowed: str = ""
    """What is allowed there."""
    suggestion: str = ""
    """The most similar known key; empty if there is none."""

    def __post_init__(self) -> None:
        """Keep what may be shown of each part."""
        _keep_shown(self)

    def __str__(self) -> str:
        """The line: `path: found; allowed`, or `path: allowed (got found)`."""
        if self.kind == "value":  # the rule first: a value may be long
            return f"{self.path}: {self.allowed} (got {self.found})"
        if self.suggestion:
            return sentence(self.path, self.found, f"did you mean {self.suggestion!r}?")
        return sentence(self.path, self.found, self.allowed)


Problems = tuple[Problem | SettingProblem, ...]


def kind_in_words(error: BaseException) -> str:
    """The kind of an error of another library, for whoever knows no class of Python.

    Its text is not repeated: it may hold a secret.

    >>> kind_in_words(ConnectionRefusedError())
    'connection refused'
    """
    name = type(error).__name__.removesuffix("Error").removesuffix("Exception")
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).lower() or "failed"


def count_problems(number: int) -> str:
    """`1 problem`, or `2 problems`."""
    return "1 problem" if number == 1 else f"{number} problems"


class FactoryError(Exception):
    """A deliberate error: it is shown as one message, without a traceback."""

    exit_code: ClassVar[int] = 1
    """What the command line returns."""

    def __init__(
        self,
        message: str = "",
        *,
        where: str = "",
        found: str = "",
        allowed: str = "",
        remedy: str = "",
        problems: Problems = (),
    ) -> None:
        """Build the message from its parts, or use `message` as a whole.

        Args:
            message: Shown instead of the parts' sentence; it is all that was `found` if there is none.
            where: The place: a file, a setting, an option of the command line.
            found: What was found there.
            allowed: What is allowed.
            remedy: What to do.
            problems: What was found, one by one.
        """
        super().__init__(shown(message or sentence(where, found, allowed, remedy)))
        self.where = shown(where)
        self.found = shown(found or message)
        self.allowed = shown(allowed)
        self.remedy = shown(remedy)
        self.problems = problems

    def facts(self) -> dict[str, Any]:
        """Serialise the error to plain JSON values, for `restore_error`.

        A plugin's own class is serialised as its nearest base class in this file.
        """
        return {
            "error": next(k.__name__ for k in type(self).__mro__ if k.__module__ == __name__),
            "message": str(self),
            "where": self.where,
            "found": self.found,
            "allowed": self.allowed,
            "remedy": self.remedy,
            "problems": [asdict(problem) for problem in self.problems],
        }


class JobError(FactoryError):
    """The job file, or a setting in it, is wrong."""

    exit_code = 2


class WeightsError(JobError):
    """The generator's weights are missing, changed or unreadable."""


class MissingWeightsError(WeightsError):
    """The generator's weights are not on this machine; another one may have them."""


class UnknownGeneratorError(WeightsError):
    """The weights are a whole file, but of no known family, or one that needs settings."""


class PluginError(FactoryError):
    """A generator, segmenter or executor is unknown, or cannot be used here."""

    exit_code = 3


class ShardError(FactoryError):
    """One shard could not be made."""

    exit_code = 4


class RetryableError(ShardError):
    """A shard could not be made for a transient reason, such as a dead worker."""


class PreemptedError(RetryableError):
    """A shard was dropped because its node was preempted; not counted as a failed attempt."""


class IncompleteError(FactoryError):
    """The run ended with shards missing. A partial success is a failure."""

    exit_code = 5


class StoreError(FactoryError):
    """The output cannot be read or written, or belongs to another dataset."""

    exit_code = 6


class UnreachableError(StoreError):
    """The output's server does not answer, or denies access."""


class DamageError(StoreError):
    """A file of a dataset is not what its receipt, its plan or its format says."""

    exit_code = 7


class Interrupted(FactoryError):  # noqa: N818 - a stop that was asked for is not an error
    """Stopped by a signal. Committed shards are kept; running the same command again resumes."""

    exit_code = 75


def restore_error(facts: dict[str, Any]) -> FactoryError:
    """Deserialise an error from `FactoryError.facts` of another process."""
    given = dict(facts)
    kind = _by_name()[given.pop("error")]
    problems = [
        SettingProblem(**problem) if "suggestion" in problem else Problem(**problem)
        for problem in given.pop("problems")
    ]
    return kind(**given, problems=tuple(problems))


def _by_name(kind: type[FactoryError] = FactoryError) -> dict[str, type[FactoryError]]:
    """The classes below `kind`, and itself, by name."""
    found = {kind.__name__: kind} if kind.__module__ == __name__ else {}
    for narrower in kind.__subclasses__():
        found |= _by_name(narrower)
    return found
