"""Plan a dataset: rounds, shards and sample indices. Pure arithmetic, without torch and Ray.

A dataset grows by rounds. A round is immutable once written: it owns a range of shards and a range
of sample indices, and nothing in it depends on the progress of other shards.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from factory.data import ShardTask, Steering
from factory.described import Described
from factory.errors import DamageError, JobError, count_problems
from factory.identity import KEY_DIGITS, SHARD_DIGITS
from factory.manifest.versions import read_file_of
from factory.plan.identity import dataset_id_of
from factory.plan.splits import Splits, check_splits_filled, find_splits, name_in_split, place_shard
from factory.spec import JobSpec
from factory.spec.settings import DatasetName


class Round(Described):
    """One immutable round of a dataset's growth: the content of `plan/round-NNNN.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    schema_version: int = 2
    """Version of this layout; 1 if no step is named and nothing searched, which older versions read."""
    dataset_id: str = Field(max_length=64)
    """The dataset this round belongs to."""
    name: DatasetName
    """The dataset's name, the first part of every shard's name."""
    round_index: int = Field(ge=0, lt=10**6)
    """Position of the round, from 0."""
    first_shard: int = Field(ge=0, lt=10**SHARD_DIGITS)
    """Index of its first shard."""
    first_index: int = Field(ge=0, lt=10**KEY_DIGITS)
    """Its first sample index."""
    num_samples: int = Field(ge=1, le=10**KEY_DIGITS)
    """Number of samples it adds."""
    samples_per_shard: int = Field(ge=1, le=10**KEY_DIGITS)
    """Samples per shard; the last shard may have fewer."""
    oversample: float = Field(ge=1, le=10**6)
    """Sample indices owned per sample that is kept; at least 1."""
    identity: dict[str, Any]
    """The identity whose digest is the dataset id; errors list what differs from it."""
    step: str | None = Field(None, max_length=64)
    """Name of a scheduled step of growth, such as its date: no other round has it. Left out if none."""
    steering: Steering | None = None
    """How it differs from the `dataset` section to reach a coverage target; null for plain growth."""
    split: Literal["", "train", "val", "test"] = ""
    """The split of all its shards, in a dataset that is made of others; empty = dealt out by
    `dataset.splits`. Left out of the file if it is empty."""

    @model_validator(mode="after")
    def _has_names(self) -> "Round":
        """Refuse ranges beyond the digits of keys: a round may come from a dataset of unknown origin."""
        check_digits(self)
        find_splits(self.identity)
        return self

    @property
    def splits(self) -> Splits | None:
        """The splits of its dataset; None if all samples are for training."""
        return find_splits(self.identity)

    @property
    def num_shards(self) -> int:
        """Number of shards of this round."""
        return math.ceil(self.num_samples / self.samples_per_shard)

    @property
    def end_index(self) -> int:
        """One past the last sample index this round owns."""
        # Each shard's range is rounded up by itself, as in `task`: ranges must not overlap.
        whole = math.ceil(self.samples_per_shard * self.oversample)
        rest = self.num_samples - (self.num_shards - 1) * self.samples_per_shard
        tail = math.ceil(rest * self.oversample)
        return self.first_index + (self.num_shards - 1) * whole + tail

    def tasks(self, done: Collection[int] = frozenset()) -> Iterator[ShardTask]:
        """Iterate over the tasks of this round, in order, without the shards that are `done`.

        Every index belongs to exactly one of them.
        """
        splits = self.splits
        return (
            self._task(position, splits)
            for position in range(self.num_shards)
            if self.first_shard + position not in done
        )

    def task(self, position: int) -> ShardTask:
        """The task at `position` of this round, from 0. Only the last shard may be smaller."""
        return self._task(position, self.splits)

    def _task(self, position: int, splits: Splits | None) -> ShardTask:
        done = position * self.samples_per_shard
        num_samples = min(self.samples_per_shard, self.num_samples - done)
        shard_index = self.first_shard + position
        whole = math.ceil(self.samples_per_shard * self.oversample)
        name, split = place_shard(self.name, shard_index, splits)
        if self.split:
            name, split = name_in_split(self.name, self.split, position), str(self.split)
        return ShardTask(
            dataset_id=self.dataset_id,
            name=name,
            round_index=self.round_index,
            shard_index=shard_index,
            first_index=self.first_index + position * whole,
            num_indices=math.ceil(num_samples * self.oversample),
            num_samples=num_samples,
            steering=self.steering,
            cycle_offset=done,
            split=split,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """All rounds of a dataset, made or not."""

    dataset_id: str
    rounds: tuple[Round, ...]

    @property
    def num_samples(self) -> int:
        """Number of planned samples, over all rounds."""
        return sum(round_.num_samples for round_ in self.rounds)

    @property
    def num_shards(self) -> int:
        """Number of shards of all rounds."""
        return sum(round_.num_shards for round_ in self.rounds)

    def tasks(self) -> list[ShardTask]:
        """All tasks, in shard order."""
        return [task for round_ in self.rounds for task in round_.tasks()]

    def task(self, round_index: int, shard_index: int) -> ShardTask | None:
        """The task of a shard; None if the plan has no such shard in that round."""
        if not 0 <= round_index < len(self.rounds):
            return None
        round_ = self.rounds[round_index]
        position = shard_index - round_.first_shard
        return round_.task(position) if 0 <= position < round_.num_shards else None

    def owner_of(self, index: int) -> ShardTask | None:
        """The task whose range has a sample index; None if none does."""
        for round_ in self.rounds:
            if round_.first_index <= index < round_.end_index:
                whole = math.ceil(round_.samples_per_shard * round_.oversample)
                return round_.task((index - round_.first_index) // whole)
        return None

    def without(self, done: set[int]) -> list[ShardTask]:
        """The tasks of all shards whose index is not in `done`."""
        return [task for round_ in self.rounds for task in round_.tasks(done)]


def find_ready(plan: Plan, tasks: Iterable[ShardTask], done: set[int]) -> list[ShardTask]:
    """Those of `tasks` that can be made: the others take masks of shards that are not there for layouts.

    A shard can be lost after a search was planned with its masks; it is then made first.

    Args:
        plan: The plan of the tasks.
        tasks: Tasks of shards that are missing.
        done: Indices of the shards that are there.
    """
    ready = []
    for task in tasks:
        search = task.steering.search if task.steering is not None else None
        owners = [plan.owner_of(index) for index in search.layouts] if search is not None else []
        if all(owner is not None and owner.shard_index in done for owner in owners):
            ready.append(task)
    return ready


def plain_samples(rounds: Sequence[Round]) -> int:
    """Number of samples planned for `dataset.num_samples`, without rounds for coverage targets."""
    return sum(round_.num_samples for round_ in rounds if round_.steering is None)


def make_plan(
    spec: JobSpec, identity: dict[str, Any], existing: Sequence[Round] = (), *, step: str = ""
) -> Plan:
    """Plan a job on top of the `existing` rounds: a round is added if more samples are wanted.

    `step` names the added round, if the dataset grows in scheduled steps.

    Raises:
        JobError: If the job asks for fewer samples than are already planned.
    """
    rounds = list(existing)
    planned = plain_samples(rounds)
    wanted = spec.dataset.num_samples
    if wanted < planned:
        raise JobError(
            f"dataset.num_samples: found {wanted}, but {planned} are already planned in this output;"
            f" a dataset only grows: set it to {planned} or more, or choose another output.uri"
        )
    if wanted > planned:
        last = rounds[-1] if rounds else None
        rounds.append(
            # First shard and first index follow the last round's whole range, used up or not: which
            # indices a round owns must not depend on how many samples were rejected before.
            Round(
                schema_version=2 if step else 1,
                dataset_id=dataset_id_of(identity),
                name=spec.name,
                round_index=len(rounds),
                first_shard=last.first_shard + last.num_shards if last else 0,
                first_index=last.end_index if last else 0,
                num_samples=wanted - planned,
                samples_per_shard=spec.dataset.samples_per_shard,
                oversample=spec.dataset.oversample,
                identity=identity,
                step=step or None,
            )
        )
    plan = Plan(rounds[0].dataset_id, tuple(rounds))
    _check_seeds(spec, plan)
    check_splits_filled(find_splits(identity), plan.num_shards, plan.num_samples)
    return plan


def _check_seeds(spec: JobSpec, plan: Plan) -> None:
    """Require that NVIDIA's seeds (below 2^32) suffice for `plan` and the rounds for coverage.

    Raises:
        JobError: If they do not. Checked before anything is made, because a dataset never shrinks.
    """
    latents = spec.dataset.latents
    if latents.draw != "nvidia_seed":
        return
    budget = spec.dataset.coverage.budget if spec.dataset.coverage else 0
    spent = sum(r.end_index - r.first_index for r in plan.rounds if r.steering is not None)
    end = latents.seed + plan.rounds[-1].end_index + max(0, budget - spent)
    if end > 2**32:
        raise JobError(
            f"dataset.latents.seed: the dataset needs NVIDIA's seeds up to {end - 1:,} (seed + samples "
            f"x oversample), and they end at {2**32 - 1:,}; lower dataset.latents.seed or "
            "dataset.num_samples, or use draw: counter"
        )


def check_digits(newest: Round) -> None:
    """Require that the digits of keys and names suffice up to this round, so that they sort as numbers.

    Raises:
        JobError: If they do not.
    """
    if newest.end_index > 10**KEY_DIGITS:
        raise JobError(
            f"dataset.oversample: the dataset would own {newest.end_index:,} sample indices, keys "
            f"have {KEY_DIGITS} digits; lower dataset.oversample or dataset.num_samples"
        )
    num_shards = newest.first_shard + newest.num_shards
    if num_shards > 10**SHARD_DIGITS:
        raise JobError(
            f"dataset.samples_per_shard: the dataset would have {num_shards:,} shards, their names "
            f"have {SHARD_DIGITS} digits; raise dataset.samples_per_shard"
        )


def encode_round(round_: Round) -> bytes:
    """Encode a round as JSON; without step, split and search as versions before these did."""
    left_out: dict[str, Any] = {
        name: True for name in ("step", "split") if not getattr(round_, name)
    }
    if round_.steering is not None and round_.steering.search is None:
        left_out["steering"] = {"search"}
    return (round_.model_dump_json(indent=1, exclude=left_out) + "\n").encode()


def read_round(data: bytes, *, source: str) -> Round:
    """Parse a round file. `source` names it in errors.

    Raises:
        DamageError: If it is not a valid round.
        StoreError: If a newer version wrote it.
    """
    try:
        return read_file_of(Round, data, source=source)
    except (ValidationError, JobError) as error:
        count = error.error_count() if isinstance(error, ValidationError) else 1
        raise DamageError(
            f"{source}: not a round of a plan ({count_problems(count)}); it was changed by hand: "
            "restore it, or choose another output.uri"
        ) from error
