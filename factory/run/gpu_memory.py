"""The memory of a GPU that several workers share: none takes more than its part, so that all fit.

Without a limit the first worker takes what it likes, and a later one fails in the middle of a run.
"""

from dataclasses import dataclass

import torch

from factory.errors import JobError

_CONTEXT_BYTES = 2**30
"""What CUDA and its libraries take in each process, beside what PyTorch allocates."""


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU."""

    name: str
    total_bytes: int
    """Its memory."""

    def workers_that_fit(self, peak_bytes: int) -> int:
        """How many workers of `peak_bytes` each, CUDA's own included, have room."""
        return self.total_bytes // peak_bytes

    def room_of(self, share: float) -> int:
        """Bytes that PyTorch may allocate in a worker with a `share` of the card (0 to 1).

        Raises:
            JobError: If nothing is left for it.
        """
        num_workers = workers_per_card(share)
        room = self.total_bytes // num_workers - _CONTEXT_BYTES
        if room > 0:
            return room
        most = max(1, self.total_bytes // (2 * _CONTEXT_BYTES))
        raise JobError(
            where="run.gpus_per_actor",
            found=f"found {share:g}: {num_workers} workers on {self.name} with "
            f"{self.total_bytes / 2**30:.1f} GiB, of which CUDA itself takes about 1 GiB in each",
            allowed=f"at most {most} workers on such a GPU",
            remedy=f"set it to {1 / most:.3g} or more",
        )


def workers_per_card(share: float) -> int:
    """The number of workers with a `share` of a GPU (above 0, at most 1) that Ray puts on one."""
    return int(1 / share + 1e-6)


def limit_memory(share: float) -> None:
    """Let this process, a worker with a `share` of this machine's GPU, allocate its part of it alone.

    A batch that does not fit is refused as on a smaller GPU, whatever the other workers have taken.

    Raises:
        JobError: If its part is less than CUDA itself takes.
    """
    if not torch.cuda.is_available() or workers_per_card(share) == 1:
        return
    card = find_card()
    torch.cuda.set_per_process_memory_fraction(card.room_of(share) / card.total_bytes)


def find_card() -> Card:
    """The GPU of this process."""
    found = torch.cuda.get_device_properties()
    return Card(found.name, found.total_memory)


def peak_bytes() -> int:
    """What this process has taken of its GPU at most, CUDA's own included."""
    return torch.cuda.max_memory_reserved() + _CONTEXT_BYTES
