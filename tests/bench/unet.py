"""A small U-Net for segmentation and its training: the ruler that benches measure datasets with.

A dataset is as good as a network that saw nothing else. This one is small enough for a CPU (0.94 million
weights, 400 steps of 16 pictures of 64 px: about three minutes on one core) and always trained in the
same way, so that two results differ by their training pairs only. A stopped training continues at its
last checkpoint; a finished one is read from its file, which is named after pairs, seed and recipe.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (24, 48, 96, 160)
NUM_STEPS, BATCH = 400, 16
RATE, WARM_UP = 2e-3, 40
EMA = 0.98
SAVE_EVERY = 50
RECIPE = 1
"""Counts changes of the training: weights of another recipe are not reused."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pictures with masks to train on."""

    images: UInt8[Tensor, "n 3 h w"]
    """RGB."""
    masks: UInt8[Tensor, "n h w"]
    """Class ids from 0."""

    def __getitem__(self, rows: Any) -> "Pairs":
        return Pairs(self.images[rows], self.masks[rows])


class UNet(nn.Module):
    """Class logits for every pixel; sides must be multiples of 8."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        inputs = (3, *CHANNELS[:-1])
        self.down = nn.ModuleList(_block(i, o) for i, o in zip(inputs, CHANNELS, strict=True))
        self.up = nn.ModuleList(
            _block(CHANNELS[level] + CHANNELS[level + 1], CHANNELS[level])
            for level in reversed(range(len(CHANNELS) - 1))
        )
        self.head = nn.Conv2d(CHANNELS[0], num_classes, 1)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k h w"]:
        kept = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        kept.pop()
        for block in self.up:
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), kept.pop()], dim=1))
        return self.head(x)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [
            nn.Conv2d(width, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(8, outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def train_unet(pairs: Pairs, num_classes: int, seed: int, folder: Path) -> UNet:
    """The network trained on `pairs` (the mean of its weights); its files lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"unet_{_digest(pairs, num_classes, seed)}.pt"
    net = UNet(num_classes)
    if not path.exists():
        torch.save(_train(pairs, num_classes, seed, path.with_suffix(".part")), path)
        path.with_suffix(".part").unlink(missing_ok=True)
    net.load_state_dict(torch.load(path))
    return net.eval()


def _train(pairs: Pairs, num_classes: int, seed: int, part: Path) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    net = UNet(num_classes).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-2, fused=True)
    mean = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    first = 0
    if part.exists():
        state = torch.load(part)
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        mean, first = state["mean"], state["step"]
    for step in range(first, NUM_STEPS):
        optimiser.param_groups[0]["lr"] = RATE * _schedule(step)
        batch = augmented(pairs[torch.randint(len(pairs.images), (BATCH,))], num_classes)
        # Half the time in bfloat16; weights, the loss and all sums stay in float32.
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(_normalised(batch.images))
        optimiser.zero_grad()
        _loss(logits.float(), batch.masks.long()).backward()
        optimiser.step()
        decay = min(EMA, (1 + step) / (10 + step))
        for name, tensor in net.state_dict().items():
            mean[name].lerp_(tensor, 1 - decay)
        if (step + 1) % SAVE_EVERY == 0:
            state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "mean": mean}
            fresh = part.with_suffix(".new")
            torch.save({**state, "rng": torch.get_rng_state(), "step": step + 1}, fresh)
            fresh.replace(part)
    return mean


def predict(net: UNet, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n k h w"]:
    """Probability of every class at every pixel."""
    with torch.inference_mode():
        pieces = [net(_normalised(piece)).softmax(dim=1) for piece in torch.split(images, 64)]
    return torch.cat(pieces)


def augmented(pairs: Pairs, num_classes: int) -> Pairs:
    """Turned, mirrored, scaled, restained, lit, blurred and noisy: microscopes and stains differ."""
    count = len(pairs.images)
    grid = functional.affine_grid(_poses(count), [count, 3, *pairs.images.shape[2:]], False)
    x = functional.grid_sample(
        pairs.images.float(), grid, padding_mode="reflection", align_corners=False
    )
    classes = functional.one_hot(pairs.masks.long(), num_classes).permute(0, 3, 1, 2).float()
    soft = functional.grid_sample(classes, grid, padding_mode="reflection", align_corners=False)
    density = -((x + 1) / 256).log()
    stain = torch.eye(3) + 0.1 * torch.randn(count, 3, 3)
    gain = (0.2 * torch.randn(count, 1, 1, 1)).exp()
    density = torch.einsum("nij,njhw->nihw", stain, density) * gain
    x = 256 * (-density).exp() - 1
    x = x * (0.05 * torch.randn(count, 1, 1, 1)).exp()
    sharp = torch.rand(count, 1, 1, 1)
    x = sharp * x + (1 - sharp) * functional.avg_pool2d(
        functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1
    )
    x = x + 6 * torch.rand(count, 1, 1, 1) * torch.randn_like(x)
    return Pairs(x.clamp(0, 255).round().byte(), soft.argmax(dim=1).byte())


def _poses(count: int) -> Float[Tensor, "n 2 3"]:
    angle = 2 * math.pi * torch.rand(count)
    scale = (0.15 * (2 * torch.rand(count) - 1)).exp()
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    sine, cosine, zero = angle.sin() * scale, angle.cos() * scale, torch.zeros(count)
    rows = [torch.stack([cosine * mirror, -sine, zero]), torch.stack([sine * mirror, cosine, zero])]
    return torch.stack(rows).permute(2, 0, 1)


def _normalised(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    return images.float() / 64 - 2


def _schedule(step: int) -> float:
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (step - WARM_UP) / (NUM_STEPS - WARM_UP))


def _loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy plus one minus the mean soft Dice of the classes."""
    found = logits.softmax(dim=1)
    truth = functional.one_hot(masks, logits.shape[1]).permute(0, 3, 1, 2).float()
    both, sizes = (a.sum(dim=(0, 2, 3)) for a in (found * truth, found + truth))
    return functional.cross_entropy(logits, masks) + 1 - ((2 * both + 1) / (sizes + 1)).mean()


def _digest(pairs: Pairs, num_classes: int, seed: int) -> str:
    found = hashlib.sha256(repr((RECIPE, num_classes, seed, tuple(pairs.images.shape))).encode())
    for tensor in (pairs.images, pairs.masks):
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
