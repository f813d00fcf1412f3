"""Style mixing for StyleGAN2: the coarse layers run once, the fine layers once per variant.

Source: Karras et al. 2019 (StyleGAN), section 3.1, "style mixing". The skip architecture adds up
colours from every resolution, so that the fine part may also stop early.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from factory.generate.base import StyleFacts
from factory.generate.stylegan2.network import Network, Noise


def style_facts(network: Network, layers: Iterable[str]) -> StyleFacts:
    """Style-mixing capabilities: start at all `layers` but the first, stop at blocks with colours."""
    shown = tuple(4 << k for k, block in enumerate(network.blocks) if block.to_rgb is not None)
    return StyleFacts(tuple(layers)[1:], shown)


def mixed_colours(
    network: Network,
    base: Float[Tensor, "1 rows w_dim"],
    variants: Float[Tensor, "v rows w_dim"],
    noise: Noise,
    first: int,
    stop_px: int,
) -> Float[Tensor, "v c s s"]:
    """Colours after the block of `stop_px` rows, with the styles of `variants` from row `first` on.

    Equal to synthesising the mixed style rows. A style row modulates the layer of the same number
    and, before it, the colours of the block that has just ended.
    """
    x: Tensor = network.const.contiguous(memory_format=torch.channels_last)
    shortcut: Tensor | None = None
    image: Tensor | None = None
    ws = base
    for row in range(network.num_ws):
        if row == first:
            ws = variants
            # The batch grows from 1 to v only here: this is what mixing saves.
            x = _repeated(x, len(variants))
            shortcut = None if shortcut is None else _repeated(shortcut, len(variants))
            image = None if image is None else _repeated(image, len(variants))
        if row % 2:
            block = network.blocks[row // 2]
            if block.to_rgb is not None and block.upsample_image is not None:
                colours = block.to_rgb(x, ws[:, row])
                image = colours if image is None else block.upsample_image(image).add_(colours)
            if 4 << row // 2 == stop_px:
                break
        block = network.blocks[(row + 1) // 2]
        conv = block.conv0 if row % 2 else block.conv1
        assert conv is not None  # every block but the first, which begins at row 0, has conv0
        if row % 2:
            shortcut = block.shortcut(x)
        x = conv(x, ws[:, row], noise.get(conv.name))
        if row % 2 == 0 and shortcut is not None:
            x = x.add_(shortcut)
    assert image is not None  # `stop_px` is a block with colours
    return image


def _repeated(part: Tensor, count: int) -> Tensor:
    return part.repeat(count, 1, 1, 1).contiguous(memory_format=torch.channels_last)
