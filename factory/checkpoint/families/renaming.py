"""Move tensors from another program's names to NVIDIA's, each once; whatever remains is an error."""

from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor

from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.pickles.source import refuse
from factory.identity import counter_rng

Change = Callable[[Tensor], Tensor]

_MAP_AXES = 4


def scalar(tensor: Tensor) -> Tensor:
    """A single number without axes.

    Raises:
        ValueError: If there are more.
    """
    if tensor.numel() != 1:
        raise ValueError("a noise strength is one number")
    return tensor.reshape(())


def first_map(tensor: Tensor) -> Tensor:
    """Rows and columns of a tensor with two leading axes of one.

    Raises:
        ValueError: If it has other axes.
    """
    if tensor.ndim != _MAP_AXES or tensor.shape[:2] != (1, 1):
        raise ValueError("a map has four axes, the first two of one")
    return tensor[0, 0]


def first(tensor: Tensor) -> Tensor:
    """The only member of the leading axis.

    Raises:
        ValueError: If that axis has another length.
    """
    if tensor.ndim == 0 or tensor.shape[0] != 1:
        raise ValueError("no leading 1")
    return tensor[0]


class Renaming:
    """Tensors on their way from one program's names to another's."""

    def __init__(self, state: StateDict, program: str) -> None:
        """Start with all of `state`, which errors call the tensors of `program`."""
        self.file, self.program = state.file, program
        self.left = dict(state.tensors)
        self.made: dict[str, Tensor] = {}
        self._num_drawn = 0

    def __contains__(self, name: str) -> bool:
        """Whether a tensor of the old name `name` is left."""
        return name in self.left

    def take(self, name: str) -> Tensor:
        """Remove and return a tensor by its old name.

        Raises:
            WeightsError: If there is none.
        """
        if name not in self.left:
            self.refuse(f"tensor {name!r} is missing")
        return self.left.pop(name)

    def move(self, old: str, new: str, change: Change | None = None) -> None:
        """Give the tensor `old` the name `new`, changed by `change`.

        Raises:
            WeightsError: If there is none, or its axes are not those that `change` needs.
        """
        tensor = self.take(old)
        try:
            self.made[new] = tensor if change is None else change(tensor).contiguous()
        except (ValueError, RuntimeError, IndexError) as error:
            self.refuse(f"tensor {old!r} has shape {tuple(tensor.shape)}: {error}")

    def draw_noise(self, new: str, resolution: int, lane: int) -> None:
        """Make a noise map from a fixed seed, for a file that holds none."""
        self._num_drawn += 1
        drawn = counter_rng("seeding", 0, 1, substream=lane).standard_normal((resolution,) * 2)
        self.made[new] = torch.from_numpy(drawn).float()

    def finish(self) -> tuple[dict[str, Tensor], list[str]]:
        """The renamed tensors, and what was assumed.

        Raises:
            WeightsError: If tensors are left.
        """
        if self.left:
            self.refuse(f"tensor {sorted(self.left)[0][:80]!r} is left over")
        if not self._num_drawn:
            return self.made, []
        return self.made, [
            f"{self._num_drawn} noise maps drawn from a fixed seed: the file holds none there, so "
            "images with noise 'const' differ slightly from the original program's"
        ]

    def refuse(self, found: str) -> NoReturn:
        """Reject the file because of `found`.

        Raises:
            WeightsError: Always.
        """
        refuse(
            self.file, found, f"names and shapes are those of {self.program}'s StyleGAN2",
            "it is another architecture, or not whole; ask for support of this fork",
        )  # fmt: skip
