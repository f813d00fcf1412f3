"""Fit an alpha network on real pictures, or take one that Labels4Free's authors released.

Source: Abdal, Zhu, Mitra and Wonka, "Labels4Free: Unsupervised segmentation using StyleGAN", ICCV 2021.
A step depends on the one before it, so that the fit is made in one process, whatever the workers.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from factory.checkpoint.alpha_network import read_alpha_network
from factory.fit.alpha.losses import binarisation
from factory.fit.alpha.released import check_fits, name_tensors
from factory.fit.alpha.training import AlphaTraining, ImageSource, first_network
from factory.fit.context import FitContext
from factory.fit.cost import FitCost, Probe, encode_stand_in
from factory.log import log_event
from factory.segment.alpha.network import AlphaNetwork, find_levels, flat
from factory.segment.alpha.segmenter import (
    AVERAGE,
    LABELS,
    LAST,
    alpha_quantiles,
    foreground_share,
    quantiles_name,
)
from factory.spec.alpha import AlphaSpec
from factory.train_generator.images import LabelledImages, load_unlabelled
from factory.train_generator.step import step_rng

_SETTING = "dataset.segmenter.images"
_NUM_SHOWN, _SHOWN_AT_ONCE = 16, 4
"""Images that the figures about a fit are taken from."""


def fit_alpha(spec: AlphaSpec, context: FitContext) -> bytes:
    """Fit the network and return the segmenter file.

    Raises:
        WeightsError: If `network` names no alpha network.
        JobError: If it does not fit, the pictures cannot be used, or the training collapses.
        Interrupted: If a stop was requested.
    """
    levels = find_levels(context.pool.facts)
    # Tensors of inference mode have no gradients.
    with torch.inference_mode(mode=False), torch.enable_grad():
        source = ImageSource(spec, context.generator, context.dataset, context.pool.device)
        if spec.network is not None:
            found = read_alpha_network(Path(spec.network))
            check_fits(found, levels, context.pool.facts, spec.network)
            networks = {LAST: name_tensors(found, levels)}
            figures: dict[str, int | float] = {"num_channels": sum(found.channels)}
        else:
            networks, figures = _train(spec, context, source)
        tensors = {
            f"{part}/{name}": tensor.detach().cpu()
            for part, network in networks.items()
            for name, tensor in network.items()
        }
        first = 2 * spec.schedule().steps * spec.images_per_step  # none that a training has seen
        for part, network in networks.items():
            alpha = _alpha_of(network, source, first)
            tensors[quantiles_name(part)] = alpha_quantiles(alpha)
            if part == AVERAGE or len(networks) == 1:
                figures |= _figures(alpha)
    return context.encode(tensors, layers=flat(levels), labels=LABELS, fitted_on=figures)


def _train(
    spec: AlphaSpec, context: FitContext, source: ImageSource
) -> tuple[dict[str, dict[str, Tensor]], dict[str, int | float]]:
    """The networks that a training gives, and figures about it."""
    assert spec.images is not None  # settings without them name a network
    resolution, progress = context.generator.facts.resolution, context.progress
    pictures = load_unlabelled(spec.images, resolution, where=_SETTING)
    training = AlphaTraining(spec, source, context.generator, context.pool.device)
    training.restore(context.checkpoint.load())
    critic = "the weights file's discriminator" if training.has_own_critic else "random weights"
    log_event("critic_starts_from", what=critic)
    progress.begin("training", training.schedule.steps, training.step)
    while training.step < training.schedule.steps:
        training.take_step(pictures)
        context.checkpoint.save(training.kept())
        progress.advance(1)
    figures = {
        "num_pictures": len(pictures.pixels),
        "steps": training.step,
        "own_discriminator": int(training.has_own_critic),
        "loss": round(training.loss, 6),
    }
    return {AVERAGE: training.average, LAST: training.network}, figures


@torch.no_grad()
def _alpha_of(
    network: dict[str, Tensor], source: ImageSource, first: int
) -> Float[Tensor, "n h w"]:
    """What a network says of images from number `first` on."""
    placed = {name: tensor.to(source.device) for name, tensor in network.items()}
    net = AlphaNetwork(source.levels, placed)
    starts = range(first, first + _NUM_SHOWN, _SHOWN_AT_ONCE)
    made = [source.make(range(start, start + _SHOWN_AT_ONCE)) for start in starts]
    return torch.cat([net(images.features).cpu() for images in made])


def _figures(alpha: Float[Tensor, "n h w"]) -> dict[str, int | float]:
    return {
        "mean_alpha": round(float(alpha.mean()), 6),
        "undecided": round(float(binarisation(alpha)), 6),
        "foreground_share": round(foreground_share(alpha), 6),
    }


def _seconds(spec: AlphaSpec, probe: Probe, batch_s: float) -> float:  # noqa: ARG001 - steps are timed themselves
    """The steps, at the speed of two that are tried on random pictures."""
    if spec.network is not None:
        return 0.0
    side = probe.generator.facts.resolution
    noise = torch.randint(256, (8, 3, side, side), generator=step_rng(0, 0), dtype=torch.uint8)
    pictures = LabelledImages(noise, torch.zeros(8, dtype=torch.int64), ())
    with torch.inference_mode(mode=False), torch.enable_grad():
        source = ImageSource(spec, probe.generator, probe.dataset, probe.device)
        training = AlphaTraining(spec, source, probe.generator, probe.device)
        training.take_step(pictures)  # the first step has the penalty, and warms everything up
        started = probe.clock()
        training.take_step(pictures)
        training.take_step(pictures)
        step_s = (probe.clock() - started) / 2
    return training.schedule.steps * step_s


def _stand_in(spec: AlphaSpec, probe: Probe) -> bytes:  # noqa: ARG001 - every network is alike
    facts = probe.generator.facts
    levels = find_levels(facts)
    channels = [facts.layers[name].channels for name in flat(levels)]
    tensors = {
        f"{LAST}/{name}": one
        for name, one in first_network(levels, channels, step_rng(0, 0)).items()
    }
    return encode_stand_in(probe, flat(levels), len(LABELS), tensors)


COST = FitCost(seconds=_seconds, stand_in=_stand_in)
"""The cost of a fit on real pictures."""
