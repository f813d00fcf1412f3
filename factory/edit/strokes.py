"""Change a sample so that its mask has what somebody painted."""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from factory.data import IGNORE


def layout_of_edit(
    masks: UInt8[Tensor, "n h w"], painted: UInt8[Tensor, "n h w"]
) -> Int64[Tensor, "n h w"]:
    """What is painted, and elsewhere what is there; `painted` is 255 where nothing is painted."""
    return torch.where(painted == IGNORE, masks, painted).long()
