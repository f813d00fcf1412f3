"""The network: MONAI's U-Net in two sizes. MONAI needs torch and numpy alone, and replaces neither."""

from typing import Literal

from torch import nn

from factory.errors import PluginError

_CHANNELS = {"S": (24, 48, 96, 160, 160, 24), "M": (64, 128, 256, 512, 512, 64)}
_GROUPS = 8


def make_network(num_classes: int, size: Literal["S", "M"]) -> nn.Module:
    """A U-Net that maps normalised images `n 3 h w` to logits `n num_classes h w`, of any size.

    Group normalisation in place of batch normalisation: the mean of weights (EMA) then needs no
    statistics of its own, and batches may be small.

    Raises:
        PluginError: If MONAI is not installed.
    """
    try:
        from monai.networks.nets.basic_unet import BasicUNet
    except ImportError as error:
        raise PluginError(
            where="factory train",
            found="MONAI is not installed",
            remedy="pip install 'maskfactory[train]'",
        ) from error
    network: nn.Module = BasicUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=num_classes,
        features=_CHANNELS[size],
        act="relu",
        norm=("group", {"num_groups": _GROUPS}),
        upsample="nontrainable",
    )
    return network
