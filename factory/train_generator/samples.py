"""Samples of a generator in training, scored against real pictures; its weights file."""

from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn import functional

from factory.checkpoint import write_safetensors
from factory.checkpoint.base import Checkpoint
from factory.generate.numerics import Numerics, to_bytes
from factory.generate.stylegan2.network import Network
from factory.train_generator.generator import Tensors, network_of
from factory.train_generator.images import LabelledImages
from factory.train_generator.judge import Judge
from factory.train_generator.scores import kernel_distance, precision_recall
from factory.train_generator.spec import ImagesSpec
from factory.train_generator.state import State
from factory.train_generator.step import one_hot

_BATCH = 32
_MEAN_OF = 10_000


@dataclass(frozen=True, slots=True)
class Scores:
    """How good the samples of one class are beside real pictures of it, or the mean over classes."""

    kid: float
    """Kernel distance of the judge's features; 0 is best."""
    precision: float
    """Share of samples that lie among real pictures."""
    recall: float
    """Share of real pictures that lie among samples."""
    fidelity: float
    """Share of samples in which the judge sees the class that was asked for."""


def draw_samples(
    network: Network, classes: Int64[Tensor, " n"], images: LabelledImages, seed: int
) -> UInt8[Tensor, "n 3 h w"]:
    """One sample for each of `classes`, without truncation, with the checkpoint's own noise."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(len(classes), network.mapping.z_dim, generator=rng)
    noise = network.const_noise()
    pieces = []
    for piece, wanted in zip(torch.split(z, _BATCH), torch.split(classes, _BATCH), strict=True):
        device = network.at.device
        ws = network.styles(piece.to(device), one_hot(wanted, images, device))
        made = to_bytes(network.synthesise(ws, noise)[0]).permute(0, 3, 1, 2)
        pieces.append(functional.interpolate(made, images.pixels.shape[2:]))
    return torch.cat(pieces)


@torch.no_grad()
def score_samples(
    network: Network, images: LabelledImages, judge: Judge, count: int, seed: int
) -> dict[str, Scores]:
    """Score `count` samples against as many real pictures, equally many of each class, by class."""
    num_classes = len(images.groups)
    each = max(count // num_classes, 2)
    classes = torch.arange(num_classes).repeat_interleave(each)
    device = network.at.device
    fake, logits = judge.look(draw_samples(network, classes, images, seed))
    right = (logits.argmax(dim=1).cpu() == classes).float().view(num_classes, each).mean(dim=1)
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for class_id, name in enumerate(images.groups):
        members = images.members(class_id)
        chosen = members[torch.randperm(len(members), generator=rng)[:each]]
        real, _ = judge.look(images.pixels[chosen].to(device))
        scale = real.std(dim=0) + 1e-6
        mine = fake[class_id * each : (class_id + 1) * each]
        x, y = (real - real.mean(dim=0)) / scale, (mine - real.mean(dim=0)) / scale
        found[name] = Scores(kernel_distance(x, y), *precision_recall(x, y), float(right[class_id]))
    return found


def mean_scores(by_class: dict[str, Scores]) -> Scores:
    """The mean over classes."""
    return Scores(*np.mean([astuple(scores) for scores in by_class.values()], axis=0).tolist())


@torch.no_grad()
def write_weights(state: State, spec: ImagesSpec, path: Path) -> None:
    """Write the mean generator as a weights file that every command of ours takes.

    Raises:
        WeightsError: If it cannot be written.
    """
    tensors = {name: tensor.detach().cpu() for name, tensor in state.mean.items()}
    kwargs = state.kwargs | {"img_resolution": state.resolution}
    tensors["mapping.w_avg"] = _mean_style(tensors, kwargs, len(state.class_names))
    checkpoint = Checkpoint(
        family="stylegan2",
        layout="safetensors",
        tensors=tensors,
        kwargs=kwargs,
        license=spec.license,
        attribution=spec.attribution,
        class_names=list(state.class_names),
        notes=[f"trained on {state.num_images} real pictures shown"],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(checkpoint, path)


def _mean_style(tensors: Tensors, kwargs: dict[str, object], num_classes: int) -> Tensor:
    """The centre of truncation: the mean style of fixed latents, with every class as often."""
    network = network_of(tensors, kwargs, Numerics(torch.device("cpu"), torch.float32))
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(_MEAN_OF, network.mapping.z_dim, generator=rng)
    labels = None
    if num_classes:
        labels = functional.one_hot(torch.arange(_MEAN_OF) % num_classes, num_classes).float()
    return network.mapping(z, labels).mean(dim=0)
