"""Fit the method `direction`: search the latent space, or take what its authors' program found.

A search is a chain of steps, each of which needs the one before: it is made in one process, whatever
the job runs on.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from factory.checkpoint.direction_file import read_direction
from factory.errors import JobError, PluginError
from factory.fit.context import FitContext
from factory.fit.cost import FitCost, Probe, encode_stand_in
from factory.fit.direction.loss import DirectionLoss
from factory.fit.direction.search import Direction, Draw, Search, draw_radius
from factory.fit.pixels.sampling import fitting_batch, fitting_latents
from factory.generate.base import Generator, GeneratorFacts, LatentShifter
from factory.generate.spaces import W_PLUS, W, Z, check_space
from factory.identity import counter_rng
from factory.segment.direction.segmenter import (
    LABELS,
    LENGTHS_NAME,
    MARGINS_NAME,
    STORED_LENGTH,
    direction_name,
    shift_latents,
)
from factory.spec import DatasetSpec
from factory.spec.direction import DirectionSpec

CURVE_PREFIX = "curve/"
"""What the names of the curves by sign begin with, in the segmenter file."""

_LENGTHS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 50.0, 120.0, 300.0)
"""Shifts whose typical difference in brightness is measured; others lie between them."""

_FIRST_DEVIATION = 0.1
_HALF_SCALE = 1024.0
_SECTION = "dataset.segmenter"


def fit_direction(spec: DirectionSpec, context: FitContext) -> bytes:
    """Find the directions and return the segmenter file.

    Raises:
        WeightsError: If a named file is no direction.
        JobError: If it is another one than it is named as, or does not fit the generator; if the search
            collapses; or the generator has no such latent space.
        PluginError: If the generator says that it can be shifted, and cannot.
        Interrupted: If a stop was requested.
    """
    generator = context.generator
    shifter = _shifter(generator)
    figures: dict[str, int | float] = {}
    tensors: dict[str, Tensor] = {}
    if spec.light or spec.dark:
        space, directions, length = _take_stored(spec, generator.facts)
        figures[STORED_LENGTH] = round(length, 4)
    else:
        space = _space_of(spec, generator.facts)
        search = _search(spec, context, space)
        directions = {sign: one.unit for sign, one in search.directions.items()}
        tensors = {f"{CURVE_PREFIX}{sign}": curve for sign, curve in search.curves.items()}
        figures |= {"num_steps": spec.steps, "num_images": spec.steps * spec.images_per_step}
        for sign, curve in search.curves.items():
            figures[f"{sign}_loss"] = round(float(curve[-1, :2].sum()), 6)
    placed = {sign: one.to(context.pool.device) for sign, one in directions.items()}
    margins = _typical_margins(shifter, context.dataset, spec.seed, space, placed)
    for sign, one in directions.items():
        tensors[direction_name(sign, space)] = one.cpu()
    tensors |= {LENGTHS_NAME: torch.tensor(_LENGTHS), MARGINS_NAME: margins}
    return context.encode(tensors, layers=(), labels=LABELS, fitted_on=figures)


def _shifter(generator: Generator) -> LatentShifter:
    if not isinstance(generator, LatentShifter):
        raise PluginError(
            f"segmenter 'direction': {type(generator).__name__} has latent spaces in its facts, but no "
            "method `shifted`; add it (see factory/generate/base.py)"
        )
    return generator


def _space_of(spec: DirectionSpec, facts: GeneratorFacts) -> str:
    if spec.space != "auto":
        check_space(spec.space, facts.spaces)
        return spec.space
    return next(iter(facts.spaces))


def make_directions(
    spec: DirectionSpec, shape: tuple[int, ...], device: torch.device, precision: str = "float32"
) -> dict[str, Direction]:
    """The directions at the start of a search: equal, small and random."""
    drawn = counter_rng("first_weights", spec.seed, 0).standard_normal(shape, dtype="float32")
    first = torch.from_numpy(drawn).to(device) * _FIRST_DEVIATION
    weights = {"light": spec.centre_weight, "dark": -spec.centre_weight}
    return {
        sign: Direction(
            DirectionLoss(weights[sign], spec.edge_weight),
            first.clone(),
            spec.learning_rate,
            _HALF_SCALE if precision == "float16" else 1.0,
        )
        for sign in spec.signs
    }


def _search(spec: DirectionSpec, context: FitContext, space: str) -> Search:
    generator, dataset = context.generator, context.dataset
    shape = generator.facts.spaces[space]
    precision = dataset.generator.precision
    # Tensors of inference mode have no gradients.
    with torch.inference_mode(mode=False), torch.enable_grad():
        directions = make_directions(spec, shape, context.pool.device, precision)
        search = Search(directions, spec.steps)
        draws_of = partial(draw_step, spec, generator, dataset, space, context.pool.device)
        search.run(draws_of, context.checkpoint, context.progress)
    return search


def draw_step(
    spec: DirectionSpec,
    generator: Generator,
    dataset: DatasetSpec,
    space: str,
    device: torch.device,
    step: int,
) -> Iterator[Draw]:
    """The images of a step, in parts of a batch of the dataset: a pure function of the step."""
    shifter, shape = _shifter(generator), generator.facts.spaces[space]
    rng = counter_rng("radius", spec.seed, step)
    first = step * spec.images_per_step
    for start in range(0, spec.images_per_step, dataset.batch_size):
        stop = min(start + dataset.batch_size, spec.images_per_step)
        numbers = range(first + start, first + stop)
        latents = fitting_latents(generator, dataset, spec.seed, numbers)
        noise = torch.from_numpy(rng.standard_normal((stop - start, *shape), dtype="float32"))
        radius = draw_radius(noise, spec.radius, spec.radius_spread, spec.min_radius)
        with torch.no_grad():
            original = shifter.shifted(latents, space, torch.zeros_like(noise).to(device))
        yield Draw(original, radius.to(device), partial(shifter.shifted, latents, space))


def _take_stored(
    spec: DirectionSpec, facts: GeneratorFacts
) -> tuple[str, dict[str, Tensor], float]:
    """The latent space, the directions, and the largest length, of files of the authors' program."""
    found, spaces, longest = {}, set(), 0.0
    for sign in spec.signs:
        path = getattr(spec, sign)
        stored = read_direction(Path(path))
        where = f"{_SECTION}.{sign}: {path}"
        if stored.is_light is not None and stored.is_light != (sign == "light"):
            other = "light" if stored.is_light else "dark"
            raise JobError(f"{where} is the {other} direction; give it as `{other}`")
        spaces.add(_space_of_stored(spec, stored.direction, facts, where))
        longest = max(longest, stored.length)
        found[sign] = stored.direction
    if len(spaces) != 1:
        raise JobError(f"{_SECTION}.dark: {spec.dark} is in another latent space than {spec.light}")
    return spaces.pop(), found, longest


def _space_of_stored(
    spec: DirectionSpec, direction: Tensor, facts: GeneratorFacts, where: str
) -> str:
    """The latent space of a direction: by its shape, and z where that could be two."""
    shape = tuple(direction.shape)
    fitting = [name for name in (Z, W, W_PLUS) if facts.spaces.get(name) == shape]
    if spec.space != "auto":
        fitting = [name for name in fitting if name == spec.space]
    if not fitting:
        offered = ", ".join(f"{name} {tuple(size)}" for name, size in facts.spaces.items())
        raise JobError(
            f"{where} has shape {shape}, this generator's latents have {offered}; use the generator "
            "that it was found on"
        )
    return fitting[0]


def _typical_margins(
    shifter: LatentShifter,
    dataset: DatasetSpec,
    seed: int,
    space: str,
    directions: dict[str, Tensor],
) -> Float[Tensor, " g"]:
    """The median difference in brightness that decides a pixel, for each of `_LENGTHS`."""
    assert isinstance(shifter, Generator)
    latents = fitting_batch(shifter, dataset, seed, 0)
    found = [
        shift_latents(shifter, latents, space, directions, length).contrast().abs().median()
        for length in _LENGTHS
    ]
    return torch.stack(found).float().cpu()


def _seconds(spec: DirectionSpec, probe: Probe, batch_s: float) -> float:
    """The time of one step on a batch, for all steps; and the margins at the end."""
    generator, dataset = probe.generator, probe.dataset
    measuring = batch_s * len(_LENGTHS)
    if spec.light or spec.dark:
        return measuring
    space = _space_of(spec, generator.facts)
    tried = spec.model_copy(
        update={"images_per_step": min(spec.images_per_step, dataset.batch_size)}
    )
    with torch.inference_mode(mode=False), torch.enable_grad():
        directions = make_directions(spec, generator.facts.spaces[space], probe.device)
        seconds = 0.0
        for step in range(2):  # the first one warms everything up
            started = time.perf_counter()
            draws = list(draw_step(tried, generator, dataset, space, probe.device, step))
            for direction in directions.values():
                direction.step(direction.gradient(draws)[0])
            seconds = time.perf_counter() - started
    return measuring + spec.steps * seconds * spec.images_per_step / tried.images_per_step


def _stand_in(spec: DirectionSpec, probe: Probe) -> bytes:
    """Random directions take as long as others."""
    facts = probe.generator.facts
    space = _space_of(spec, facts)
    if spec.light or spec.dark:
        space, directions, _ = _take_stored(spec, facts)
    else:
        made = make_directions(spec, facts.spaces[space], torch.device("cpu"))
        directions = {sign: one.unit for sign, one in made.items()}
    tensors = {direction_name(sign, space): one for sign, one in directions.items()}
    lengths = torch.tensor(_LENGTHS)
    tensors |= {LENGTHS_NAME: lengths, MARGINS_NAME: torch.ones_like(lengths)}
    return encode_stand_in(probe, (), len(LABELS), tensors)


COST = FitCost(seconds=_seconds, stand_in=_stand_in)
"""What a search takes. No work is shared: each step needs the one before."""
