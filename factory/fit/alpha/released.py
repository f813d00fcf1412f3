"""Turn an alpha network that Labels4Free's authors released into one for this package's feature maps."""

from torch import Tensor

from factory.checkpoint.alpha_network import ReleasedAlpha
from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.segment.alpha.network import Levels, flat


def name_tensors(found: ReleasedAlpha, levels: Levels) -> dict[str, Tensor]:
    """The tensors of `found`, as `segment.alpha.network` names them for the feature maps `levels`."""
    names = [f"map/{name}" for name in flat(levels)]
    names += [f"merge/{place}" for place in range(1, len(levels) - 1)]
    tensors: dict[str, Tensor] = {}
    parts = (*found.maps, *found.merges, found.last)
    for name, one in zip([*names, "last"], parts, strict=True):
        tensors |= {f"{name}.weight": one.weight.contiguous(), f"{name}.bias": one.bias}
    return tensors


def check_fits(found: ReleasedAlpha, levels: Levels, facts: GeneratorFacts, source: str) -> None:
    """Require that a released network reads the feature maps that this generator has.

    Raises:
        JobError: If it reads others.
    """
    ours = [facts.layers[name].channels for name in flat(levels)]
    if ours != list(found.channels):
        raise JobError(
            where=f"dataset.segmenter.network: {source}",
            found=f"found a network for feature maps of {_listed(found.channels)} channels, this "
            f"generator has {_listed(ours)}",
            remedy="use it on the generator that it was trained on",
        )


def _listed(numbers: list[int] | tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
