"""Synthesis on a CPU as one recorded program, which computes without Python's lock.

A small generator is a few hundred operations of some 100 microseconds. Between two of them the compute
thread needs Python's lock, which threads that encode and pack hold: each time it waits for them, though
cores are idle. A program recorded by `torch.jit.trace` calls the same kernels in the same order, and
takes the lock twice a batch. Its bytes are compared with those of Python before it is used.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from factory.generate.base import GeneratorFacts
from factory.generate.fused import synthesising_network
from factory.log import log_event

_jit: Any = torch.jit
"""Without its types: it has none for what is used of it."""

MOST_SIDE_PX = 256
"""Larger images are not worth the check: their operations take so long that the lock costs nothing."""

_NUM_CHECKS = 3
"""Batches that are computed both ways: the second and third run of a program may be optimised."""
_REASON_LENGTH = 200

Synthesis = tuple[Tensor, Mapping[str, Tensor]]
"""Images and feature maps, as every family's `synthesise` returns them."""


@runtime_checkable
class _OfOurs(Protocol):
    """A generator of one of our families, as far as it is looked at."""

    facts: GeneratorFacts


class TracedSynthesis:
    """A network's `synthesise`, recorded for one batch size. Thread-safe."""

    def __init__(self, synthesise: Callable[..., Synthesis], batch_size: int) -> None:
        """Nothing is recorded before the first call with a batch of `batch_size`."""
        self._plain = synthesise
        self._batch_size = batch_size
        self._programs: dict[tuple[object, ...], _Program] = {}
        self._lock = threading.Lock()

    @property
    def is_traced(self) -> bool:
        """Whether batches of the given size are computed by a program that was checked."""
        return any(program.is_trusted for program in self._programs.values())

    def __call__(self, first: Tensor, *rest: object, **named: object) -> Synthesis:
        """Call `synthesise`; with gradients or another batch size as it was written."""
        needs_gradient = torch.is_grad_enabled() and first.requires_grad
        if needs_gradient or len(first) != self._batch_size:
            return self._plain(first, *rest, **named)
        key = tuple(_constants_in((first, rest, named)))
        tensors = list(_tensors_in((first, rest, named)))
        with self._lock:
            program = self._programs.setdefault(key, _Program())
        if program.is_trusted:
            return program.run(tensors)
        found = self._plain(first, *rest, **named)
        with self._lock:
            program.compare(self._plain, (first, rest, named), tensors, found)
        return found


class _Program:
    """What was recorded of one form of a call: its constants are those of the call."""

    def __init__(self) -> None:
        self._run: Callable[..., tuple[Tensor, ...]] | None = None
        self._names: list[str] = []
        self._num_equal = 0
        self._has_failed = False

    @property
    def is_trusted(self) -> bool:
        return self._num_equal >= _NUM_CHECKS

    def run(self, tensors: list[Tensor]) -> Synthesis:
        assert self._run is not None  # it is trusted
        images, *maps = self._run(*tensors)
        return images, dict(zip(self._names, maps, strict=True))

    def compare(
        self,
        synthesise: Callable[..., Synthesis],
        arguments: tuple[Tensor, tuple[object, ...], dict[str, object]],
        tensors: list[Tensor],
        found: Synthesis,
    ) -> None:
        """Record the call if that was not done, and compare what the program makes of it."""
        if self._has_failed or self.is_trusted:
            return
        try:
            if self._run is None:
                self._names = list(found[1])
                self._run = _record(synthesise, arguments, tensors, self._names)
            images, maps = self.run(tensors)
            pairs = [(images, found[0]), *((maps[name], found[1][name]) for name in self._names)]
            if not all(_are_identical(*pair) for pair in pairs):
                raise ValueError("its bytes differ")
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - recording may fail in any way, and is not needed
            self._has_failed, self._run = True, None
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:_REASON_LENGTH]
            log_event("synthesis_not_traced", level=logging.INFO, reason=reason)
            return
        self._num_equal += 1


def trace_synthesis(generator: object, batch_size: int, device: torch.device) -> None:
    """Let `generator` record its synthesis of batches of `batch_size`, if that pays; else nothing."""
    network = synthesising_network(generator)
    if device.type != "cpu" or network is None or not isinstance(generator, _OfOurs):
        return
    if generator.facts.resolution > MOST_SIDE_PX:
        return
    if not isinstance(network.synthesise, TracedSynthesis):
        network.synthesise = TracedSynthesis(network.synthesise, batch_size)


def _record(
    synthesise: Callable[..., Synthesis],
    arguments: tuple[Tensor, tuple[object, ...], dict[str, object]],
    tensors: list[Tensor],
    names: list[str],
) -> Callable[..., tuple[Tensor, ...]]:
    def flat(*given: Tensor) -> tuple[Tensor, ...]:
        first, rest, named = _with_tensors(arguments, iter(given))
        images, maps = synthesise(first, *rest, **named)
        return images, *(maps[name] for name in names)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        program: Callable[..., tuple[Tensor, ...]]
        program = _jit.trace(flat, tuple(tensors), check_trace=False)
    # A choice by a tensor's values is recorded as it fell out for these. Shapes are constant.
    choices = [str(one.message) for one in said if one.category is _jit.TracerWarning]
    other = [choice for choice in choices if not choice.startswith("Using len")]
    if other:
        raise ValueError(other[0])
    return program


def _are_identical(ours: Tensor, theirs: Tensor) -> bool:
    """Whether they are stored alike and equal in every bit; `nan` counts as equal to itself."""
    is_alike = ours.dtype == theirs.dtype and ours.stride() == theirs.stride()
    return is_alike and torch.equal(ours.nan_to_num(), theirs.nan_to_num())


def _tensors_in(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for name in sorted(value):
            yield from _tensors_in(value[name])
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors_in(part)


def _constants_in(value: object) -> Iterator[object]:
    """All that is no tensor, and the forms of tensors: two calls that agree in these are one program."""
    if isinstance(value, Tensor):
        yield value.shape, value.dtype, value.stride()
    elif isinstance(value, Mapping):
        for name in sorted(value):
            yield name
            yield from _constants_in(value[name])
    elif isinstance(value, tuple):
        yield len(value)
        for part in value:
            yield from _constants_in(part)
    elif isinstance(value, Collection) and not isinstance(value, str):
        yield tuple(sorted(value))
    else:
        yield value


def _with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:  # noqa: ANN401 - arguments of any kind
    """`value` with its tensors replaced, in the order of `_tensors_in`."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, Mapping):
        return {name: _with_tensors(value[name], tensors) for name in sorted(value)}
    if isinstance(value, tuple):
        return tuple(_with_tensors(part, tensors) for part in value)
    return value
