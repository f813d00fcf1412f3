"""The numbers of colour channels that images may have."""

from factory.checkpoint.base import Checkpoint
from factory.errors import WeightsError

CHANNELS = {1: "grey", 3: "RGB", 4: "RGB and alpha"}
"""What is understood, by the number of channels."""

_SETTINGS = ("img_channels", "image_channels")


def check_channels(where: str, count: object) -> None:
    """Reject images of which it is not known how they look.

    Raises:
        WeightsError: If `count` is none of `CHANNELS`.
    """
    if type(count) is not int or count not in CHANNELS:  # a file's own settings may be anything
        allowed = ", ".join(f"{number} ({name})" for number, name in CHANNELS.items())
        raise WeightsError(
            where=where,
            found=f"its images have {count!s:.40} channels",
            allowed=f"{allowed} are allowed",
            remedy="make them into one of these in a generator plugin of your own, `module:attribute`",
        )


def channels_of(checkpoint: Checkpoint) -> object:
    """The channels of a checkpoint's images, which its settings state once its tensors are read."""
    stated = (checkpoint.kwargs.get(name) for name in _SETTINGS)
    return next((count for count in stated if count is not None), 3)
