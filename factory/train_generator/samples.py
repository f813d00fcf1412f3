"""Draw and score samples of a generator in training, and write its weights file."""

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
    """Scores of the samples of one class against its real pictures, or the mean over classes."""

    kid: float
    """Kernel distance (KID) of the judge's features; 0 is best."""
    precision: float
    """Share of samples within the manifold of the real pictures."""
    recall: float
    """Share of real pictures within the manifold of the samples."""
    fidelity: float
    """Share of samples that the judge classifies as the requested class."""


def draw_samples(
    network: Network, classes: Int64[Tensor, " n"], images: LabelledImages, seed: int
) -> UInt8[Tensor, "n 3 h w"]:
    """Draw one sample for each of `classes`, without truncation, with the checkpoint's own noise."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(len(classes), network.mapping.z_dim, generator=rng)
    noise = network.const_noise()
    pieces = []
    for piece, wanted in zip(torch.split(z, _BATCH), torch.split(classes, _BATCH), strict=True):
        device = network.at.device
        ws = network.styles(piece.to(device), one_hot(wanted, images, device))
        made = to_bytes(network.synthesise(ws, noise)[0]).permute(0, 3, 1, 2)
        # A network that is still growing makes smaller images; they are scored at the pictures'
        # size.
        pieces.append(functional.interpolate(made, images.pixels.shape[2:]))
    return torch.cat(pieces)


@torch.no_grad()
def score_samples(
    network: Network, images: LabelledImages, judge: Judge, count: int, seed: int
) -> dict[str, Scores]:
    """Score `count` samples against as many real pictures, the same number of each class, by class."""
    num_classes = len(images.groups)
    each = max(count // num_classes, 2)
    classes = torch.arange(num_classes).repeat_interleave(each)
    device = network.at.device
    fake, logits = judge.features_and_logits(draw_samples(network, classes, images, seed))
    right = (logits.argmax(dim=1).cpu() == classes).float().view(num_classes, each).mean(dim=1)
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for class_id, name in enumerate(images.groups):
        members = images.members(class_id)
        chosen = members[torch.randperm(len(members), generator=rng)[:each]]
        real, _ = judge.features_and_logits(images.pixels[chosen].to(device))
        # Standardised by the class's real pictures: features have no common unit, and the cubic
        # kernel would be dominated by the largest ones.
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
    """Write the EMA weights as a weights file for all commands.

    Raises:
        WeightsError: If it cannot be written.
    """
    tensors = {name: tensor.detach().cpu() for name, tensor in state.ema.items()}
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
    """The centre of truncation: mean style of fixed latents, with all classes equally often."""
    network = network_of(tensors, kwargs, Numerics(torch.device("cpu"), torch.float32))
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(_MEAN_OF, network.mapping.z_dim, generator=rng)
    labels = None
    if num_classes:
        labels = functional.one_hot(torch.arange(_MEAN_OF) % num_classes, num_classes).float()
    return network.mapping(z, labels).mean(dim=0)
