"""Draw latents and class labels for sample indices: pure functions of (dataset, index)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from factory.data import LatentBatch, ShardTask
from factory.errors import JobError
from factory.generate.base import Generator, GeneratorFacts
from factory.identity import counter_rng
from factory.spec import GeneratorSpec, LatentsSpec

_NVIDIA_KINDS = ("stylegan2", "stylegan3", "stylegan_xl")


class LatentSampler:
    """Draws the latents of any sample indices, in any order, on any worker, without shared state."""

    def __init__(self, generator: Generator, latents: LatentsSpec, spec: GeneratorSpec) -> None:
        """Prepare for one dataset.

        Raises:
            JobError: If the job names classes that the generator does not have.
        """
        self._generator = generator
        self._spec = latents
        self._class_ids, self._odds = _resolve_classes(latents, generator.facts)
        self._nvidia_width = _nvidia_width(generator, spec) if latents.draw != "counter" else None
        self._noise_seed = latents.seed if spec.noise == "per_sample" else None

    def draw(self, indices: Sequence[int], task: ShardTask | None = None) -> LatentBatch:
        """Draw the latents of `indices`; `task` gives the classes of a round with its own ones."""
        labels = _steered_labels(task, indices) if task else None
        return LatentBatch(
            indices=np.array(indices, dtype=np.int64),
            z=np.stack([self._z(index) for index in indices]),
            class_labels=np.array(
                labels or [self._class_label(index) for index in indices], dtype=np.int64
            ),
            truncation_psi=self._spec.truncation_psi,
            truncation_cutoff=self._spec.truncation_cutoff,
            noise_seed=self._noise_seed,
        )

    def draw_candidate(self, latents: LatentBatch, number: int) -> LatentBatch:
        """Other latents for the samples of a batch, as many as are asked for; number 0 is the batch.

        They depend on the seed, each sample's index and `number` alone.
        """
        if number == 0:
            return latents
        drawn = [
            self._generator.draw_z(
                counter_rng("candidates", self._spec.seed, int(index), substream=number)
            )
            for index in latents.indices
        ]
        return replace(latents, z=np.stack(drawn))

    def _z(self, index: int) -> np.ndarray:
        if self._nvidia_width is not None:
            seed = self._spec.seed + index
            if seed >= 2**32:
                raise JobError(
                    f"dataset.latents.draw: NVIDIA's seeds end at {2**32 - 1}, sample {index} would "
                    f"need {seed}; lower dataset.latents.seed or use 'counter'"
                )
            state = np.random.RandomState(seed)
            return state.randn(self._nvidia_width).astype(np.float32)
        return self._generator.draw_z(counter_rng("latent", self._spec.seed, index))

    def _class_label(self, index: int) -> int:
        if not self._class_ids:
            return -1
        if self._odds is None:
            return self._class_ids[index % len(self._class_ids)]
        rng = counter_rng("class_label", self._spec.seed, index)
        position = int(np.searchsorted(self._odds, rng.random(), side="right"))
        return self._class_ids[min(position, len(self._class_ids) - 1)]


def _steered_labels(task: ShardTask, indices: Sequence[int]) -> list[int] | None:
    """The classes that the task's round draws at `indices`; None if it names none."""
    if task.steering is None or not task.steering.classes:
        return None
    cycle = _make_cycle(tuple(sorted(task.steering.classes.items())))
    return [cycle[(task.cycle_offset + index - task.first_index) % len(cycle)] for index in indices]


@lru_cache(maxsize=8)
def _make_cycle(visits: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """A sequence with each class as often as requested, spread evenly over the cycle."""
    # Spread rather than grouped: a round, and each of its shards, may end anywhere in a cycle, and
    # what it then holds is still nearly in proportion.
    places = [
        ((2 * visit + 1) / (2 * count), label) for label, count in visits for visit in range(count)
    ]
    return tuple(label for _, label in sorted(places))


def _nvidia_width(generator: Generator, spec: GeneratorSpec) -> int:
    """Width of the latent that NVIDIA's tools draw for one seed.

    Raises:
        JobError: If the generator is of a family without such a tool.
    """
    if spec.kind not in _NVIDIA_KINDS:
        raise JobError(
            f"dataset.latents.draw: found 'nvidia_seed', but {spec.kind} is not one of "
            f"{', '.join(_NVIDIA_KINDS)}; use 'counter'"
        )
    return len(generator.draw_z(counter_rng("latent", 0, 0)))


def _resolve_classes(
    latents: LatentsSpec, facts: GeneratorFacts
) -> tuple[list[int], np.ndarray | None]:
    """Class ids to draw, and their cumulative odds if they are drawn at random, not round-robin."""
    wanted = latents.classes
    if wanted is None:
        return list(range(facts.num_classes)), None
    if not facts.num_classes:
        raise JobError("dataset.latents.classes: this generator has no classes; remove the setting")
    ids = [_class_id(name, facts) for name in wanted]
    if isinstance(wanted, list):
        return ids, None
    by_id = sorted(zip(ids, wanted.values(), strict=True))  # the order of writing must not matter
    odds = np.cumsum([weight for _, weight in by_id])
    return [class_id for class_id, _ in by_id], odds / odds[-1]


def _class_id(name: int | str, facts: GeneratorFacts) -> int:
    if isinstance(name, int) and 0 <= name < facts.num_classes:
        called = facts.class_names
        if str(name) in called and called[name] != str(name):
            raise JobError(
                f"dataset.latents.classes: found {name}, which is the number of class {called[name]!r} "
                f"and the name of number {called.index(str(name))}; write the name in quotes, "
                f"{called[name]!r} or '{name}'"
            )
        return name
    if name in facts.class_names:
        return facts.class_names.index(str(name))
    if isinstance(name, str) and name.isdigit():  # JSON knows no numbers as keys
        return _class_id(int(name), facts)
    names = f" or one of {', '.join(facts.class_names)}" if facts.class_names else ""
    raise JobError(
        f"dataset.latents.classes: found {name!r}; allowed: 0 to {facts.num_classes - 1}{names}"
    )
