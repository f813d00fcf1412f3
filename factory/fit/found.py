"""State of a fit by KLiSH: the content of its checkpoint."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float32
from torch import Tensor

from factory.fit.pixels.ball import Ball


@dataclass(slots=True)
class Found:
    """Planes found so far: those of the leaves first, then those of merged clusters in order."""

    centres: Float32[Tensor, "leaves c"]
    """Centres of the leaves; once there are planes, the largest cluster comes first."""
    planes: list[Float32[Tensor, " c1"]] = field(default_factory=list)
    """One plane per node."""
    rounds: list[int] = field(default_factory=list)
    """Rounds of each search."""
    ball: Ball | None = None
    """What vectors are clipped to where clusters are concerned; None as published, without."""
    components: Float32[Tensor, "channels c"] | None = None
    """What centres and planes are along, as columns; None if along the channels themselves."""

    def tensors(self) -> dict[str, Tensor]:
        """The content of a checkpoint."""
        planes = torch.stack(self.planes) if self.planes else torch.empty(0, 0)
        kept = {"centres": self.centres, "planes": planes, "rounds": torch.tensor(self.rounds)}
        kept |= {} if self.ball is None else {"ball": self.ball.tensor()}
        return kept if self.components is None else kept | {"components": self.components}


def read_found(tensors: dict[str, Tensor]) -> Found | None:
    """Read a checkpoint; None if it was written before the clusters were found."""
    if "centres" not in tensors:
        return None
    ball = Ball.of_tensor(tensors["ball"]) if "ball" in tensors else None
    rounds: list[int] = tensors["rounds"].long().tolist()
    components = tensors.get("components")
    return Found(tensors["centres"], list(tensors["planes"]), rounds, ball, components)
