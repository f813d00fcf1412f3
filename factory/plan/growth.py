"""Growth in steps: so many samples more than are planned, each scheduled step planned once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from factory.errors import JobError
from factory.plan.rounds import Round, plain_samples
from factory.spec import JobSpec

MOST_SAMPLES = 10**9
"""The most samples a dataset may have; see `DatasetSpec.num_samples`."""
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}")


@dataclass(frozen=True, slots=True)
class Growth:
    """One step of a dataset's growth."""

    num_samples: int
    """Samples to add to those that are planned."""
    key: str = ""
    """Name of the step, such as a schedule's date: a step with the same key is planned once, however
    often it is asked for. Empty = every call plans one."""


def check_growth(num_samples: int | None, key: str | None) -> Growth | None:
    """The growth that was asked for; None if none was.

    Raises:
        JobError: If it adds nothing, its key is no name, or there is a key and no growth.
    """
    if num_samples is None:
        if key is None:
            return None
        raise JobError(
            where="--once",
            found=f"found {key!r}, and nothing that is to be done once",
            allowed="it names a step of growth",
            remedy="add --set dataset.num_samples=+N, or leave it out",
        )
    if not 1 <= num_samples <= MOST_SAMPLES:
        raise JobError(
            where="dataset.num_samples",
            found=f"found +{num_samples}" if num_samples >= 0 else f"found {num_samples}",
            allowed=f"a dataset grows by +1 to +{MOST_SAMPLES}",
        )
    if key is not None and not _KEY.fullmatch(key):
        raise JobError(
            where="--once",
            found=f"found {key!r}",
            allowed="1 to 64 letters, digits and . _ : + -, and a letter or digit first",
            remedy="use a date, such as 2026-11-29",
        )
    return Growth(num_samples, key or "")


def grow(spec: JobSpec, rounds: Sequence[Round], growth: Growth | None) -> JobSpec:
    """The job with the `num_samples` that `growth` gives on top of `rounds`; unchanged without growth.

    Raises:
        JobError: If the step was planned with another size, or the dataset would be too large.
    """
    if growth is None:
        return spec
    planned = plain_samples(rounds)
    step = find_step(rounds, growth.key)
    if step is None:
        return _with_samples(spec, planned + growth.num_samples)
    if step.num_samples != growth.num_samples:
        raise JobError(
            where=f"--once {growth.key}",
            found=f"that step was planned with {step.num_samples:,} samples, and this asks for "
            f"{growth.num_samples:,}",
            remedy="use another key, or the same number",
        )
    return _with_samples(spec, planned)


def find_step(rounds: Sequence[Round], key: str) -> Round | None:
    """The round of the step with this key; None if it is not planned, or the key is empty."""
    return next((round_ for round_ in rounds if key and round_.step == key), None)


def _with_samples(spec: JobSpec, num_samples: int) -> JobSpec:
    if num_samples > MOST_SAMPLES:
        raise JobError(
            where="dataset.num_samples",
            found=f"the dataset would have {num_samples:,} samples",
            allowed=f"at most {MOST_SAMPLES:,}",
            remedy="choose another output.uri",
        )
    dataset = spec.dataset.model_copy(update={"num_samples": num_samples})
    return spec.model_copy(update={"dataset": dataset})
