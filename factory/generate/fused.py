"""Synthesis as few large kernels on a GPU: compiled once for the batch size of a dataset.

Convolutions leave most of a GPU's time to elementwise work between them (styles, noise, activation),
each a pass over the maps; a compiler joins them. A batch of another size runs uncompiled: which form a
sample takes follows from the size of its batch alone, never from what was called before.
"""

import logging
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Protocol, runtime_checkable

import torch

from factory.log import log_event
from factory.store.cache import cache_folder

UNCOMPILED = "uncompiled"
"""What receipts say of synthesis on a GPU that was not compiled."""

_REASON_LENGTH = 200


@runtime_checkable
class Synthesising(Protocol):
    """A network of one of our families."""

    synthesise: Callable[..., Any]


def synthesising_network(generator: object) -> Synthesising | None:
    """The network of `generator`, if it is of one of our families.

    A plugin's may have a method of this name too, which takes other arguments, or depends on more than
    these, such as what was set before the call: it is always called as it was written.
    """
    network = getattr(generator, "network", None)
    is_ours = type(network).__module__.partition(".")[0] == __name__.partition(".")[0]
    return network if is_ours and isinstance(network, Synthesising) else None


class FusedSynthesis:
    """A network's `synthesise`, compiled for one batch size; the form it has to compute in is fixed."""

    def __init__(
        self,
        synthesise: Callable[..., Any],
        batch_size: int,
        backend: str | Callable[..., Any] = "inductor",
    ) -> None:
        """Nothing is compiled before the first call with a batch of `batch_size`."""
        self._plain = synthesise
        self._batch_size = batch_size
        # No choice by timing: of kernels for a sum, the fastest of the moment would decide its order.
        options: dict[str, str | int | bool | Callable[..., Any]] | None = None
        if backend == "inductor":
            options = {"deterministic": True}
        # Only what is asked for: no dynamic shapes, and no graph breaks that would hide a failure.
        self._compiled: Callable[..., Any] | None = torch.compile(
            synthesise, fullgraph=True, dynamic=False, backend=backend, options=options
        )

    @property
    def is_compiled(self) -> bool:
        """Whether batches of the given size are still computed in the compiled form."""
        return self._compiled is not None

    def __call__(self, first: torch.Tensor, *rest: Any, **named: Any) -> Any:  # noqa: ANN401 - the family's own
        """Call `synthesise`; with gradients or another batch size as it was written."""
        needs_gradient = torch.is_grad_enabled() and first.requires_grad
        if self._compiled is None or needs_gradient or len(first) != self._batch_size:
            return self._plain(first, *rest, **named)
        try:
            return self._compiled(first, *rest, **named)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a compiler may fail in any way, and is not needed
            self._compiled = None
            reason = " ".join(str(error).split())[:_REASON_LENGTH]
            log_event(
                "synthesis_not_compiled",
                level=logging.WARNING,
                reason=f"{type(error).__name__}: {reason}",
            )
        return self._plain(first, *rest, **named)


def fuse_synthesis(generator: object, batch_size: int, device: torch.device) -> None:
    """Let `generator` compile its synthesis for batches of `batch_size`, on a GPU; else nothing.

    What was compiled is kept in the cache folder: the next worker loads it.
    """
    network = synthesising_network(generator)
    if device.type != "cuda" or network is None:
        return
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder("compiled")))
    if not isinstance(network.synthesise, FusedSynthesis):
        network.synthesise = FusedSynthesis(network.synthesise, batch_size)


def synthesis_version(generator: object, device: torch.device) -> Mapping[str, str]:
    """What receipts say of the compiler, which decides bytes; nothing on a CPU.

    To be asked after the first batch, which compiles.
    """
    if device.type != "cuda":
        return {}
    synthesise = getattr(getattr(generator, "network", None), "synthesise", None)
    if not isinstance(synthesise, FusedSynthesis) or not synthesise.is_compiled:
        return {"synthesis": UNCOMPILED}
    return {"synthesis": f"compiled, triton {version('triton')}"}
