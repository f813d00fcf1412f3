"""One generator's tensors, by the names of its own program."""

from dataclasses import dataclass, field

from torch import Tensor

from factory.checkpoint.pickles.source import refuse


@dataclass(slots=True)
class StateDict:
    """Tensors of one generator, by the names of its own program."""

    file: str
    tensors: dict[str, Tensor]
    """Tensors by name, without the prefixes of wrappers."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """Tensors stored beside the state dict, such as `latent_avg`."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of tensor `name`.

        Raises:
            WeightsError: If there is no such tensor.
        """
        if name not in self.tensors:
            refuse(self.file, f"tensor {name!r} is missing", "a network has all its tensors",
                   "get a whole file")  # fmt: skip
        return tuple(self.tensors[name].shape)

    def count(self, form: str) -> int:
        """Number of consecutive names `form.format(0)`, `form.format(1)`, ... that exist."""
        return self.count_from(0, form)

    def count_from(self, start: int, form: str) -> int:
        """Number of consecutive names `form.format(start)`, ... that exist."""
        number = start
        while form.format(number) in self.tensors:
            number += 1
        return number - start
