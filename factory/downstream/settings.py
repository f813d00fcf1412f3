"""The settings of training a segmentation network on a dataset."""

from typing import Literal

from pydantic import Field

from factory.spec.settings import Settings


class NetworkSettings(Settings):
    """How a network is trained. With equal settings and data it is trained in the same way."""

    size: Literal["S", "M"] = "S"
    """S = 24 to 160 channels, for a CPU; M = 64 to 512 channels, for a GPU."""
    steps: int = Field(2000, ge=1, le=10**7)
    """Updates of the weights, at most: it stops early if `val` gets no better."""
    batch_size: int = Field(16, ge=1, le=4096)
    """Pairs per step."""
    learning_rate: float = Field(2e-3, gt=0, le=1)
    """Highest learning rate; it rises over the first tenth of the steps, and falls as a cosine."""
    augment: bool = True
    """Turn, mirror, scale, restain, light, blur and add noise to the pictures."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of classes in the loss; `balanced` = the inverse of the square root of their pixels."""
    every: int = Field(100, ge=1)
    """Steps between saves, lines of the log, and scores on `val`."""
    patience: int = Field(10, ge=1)
    """Scores on `val` without a better one after which the training stops."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the network; weights, loss and sums are float32."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the first weights, the order of the pairs, and the changes to pictures."""
