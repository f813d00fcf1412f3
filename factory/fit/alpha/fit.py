"""Fit an alpha network on real pictures, or take one that Labels4Free's authors released.

Source: Abdal, Zhu, Mitra and Wonka, "Labels4Free: Unsupervised segmentation using StyleGAN", ICCV 2021.
A step depends on the one before it, so that the fit is made in one process, whatever the workers.
"""

from pathlib import Path

import torch
from torch import Tensor

from factory.checkpoint.alpha_network import read_alpha_network
from factory.errors import JobError
from factory.fit.alpha.losses import binarisation
from factory.fit.alpha.released import check_fits, name_tensors
from factory.fit.alpha.training import AlphaTraining, ImageSource, first_network
from factory.fit.context import FitContext
from factory.fit.cost import FitCost, Probe, encode_stand_in
from factory.log import log_event
from factory.segment.alpha.network import AlphaNetwork, find_levels, flat
from factory.segment.alpha.segmenter import AVERAGE, LABELS, LAST, foreground_share
from factory.spec.alpha import AlphaSpec
from factory.train_generator.images import LabelledImages, load_images, of_setting
from factory.train_generator.step import step_rng

_SETTING = "dataset.segmenter.images"
_NUM_SHOWN = 16
"""Images that the figures about a fit are taken from."""


def fit_alpha(spec: AlphaSpec, context: FitContext) -> bytes:
    """Fit the network and return the segmenter file.

    Raises:
        WeightsError: If `network` names no alpha network.
        JobError: If it does not fit, the pictures cannot be used, or the training collapses.
        Interrupted: If a stop was requested.
    """
    levels = find_levels(context.pool.facts)
    if spec.network is not None:
        found = read_alpha_network(Path(spec.network))
        check_fits(found, levels, context.pool.facts, spec.network)
        tensors = {f"{LAST}/{name}": one for name, one in name_tensors(found, levels).items()}
        figures: dict[str, int | float] = {"num_channels": sum(found.channels)}
    else:
        tensors, figures = _train(spec, context)
    return context.encode(tensors, layers=flat(levels), labels=LABELS, fitted_on=figures)


def _train(
    spec: AlphaSpec, context: FitContext
) -> tuple[dict[str, Tensor], dict[str, int | float]]:
    generator, device, progress = context.generator, context.pool.device, context.progress
    pictures = _load(spec, generator.facts.resolution)
    with torch.inference_mode(mode=False), torch.enable_grad():
        source = ImageSource(spec, generator, context.dataset, device)
        training = AlphaTraining(spec, source, generator, device)
        training.restore(context.checkpoint.load())
        critic = "the weights file's discriminator" if training.has_own_critic else "random weights"
        log_event("critic_starts_from", what=critic)
        progress.begin("training", training.schedule.steps, training.step)
        while training.step < training.schedule.steps:
            training.take_step(pictures)
            context.checkpoint.save(training.kept())
            progress.advance(1)
    tensors = {
        f"{part}/{name}": tensor.detach().cpu()
        for part, group in ((AVERAGE, training.average), (LAST, training.network))
        for name, tensor in group.items()
    }
    figures = {
        "num_pictures": len(pictures.pixels),
        "steps": training.step,
        "own_discriminator": int(training.has_own_critic),
    }
    return tensors, figures | _figures(spec, training, source)


def _figures(spec: AlphaSpec, training: AlphaTraining, source: ImageSource) -> dict[str, float]:
    """What the averaged network makes of images that it was not trained on."""
    first = 2 * training.schedule.steps * spec.images_per_step
    with torch.no_grad():
        images = source.make(range(first, first + _NUM_SHOWN))
        alpha = AlphaNetwork(source.levels, training.average)(images.features)
    return {
        "loss": round(training.loss, 6),
        "mean_alpha": round(float(alpha.mean()), 6),
        "undecided": round(float(binarisation(alpha)), 6),
        "foreground_share": round(foreground_share(alpha), 6),
    }


def _load(spec: AlphaSpec, resolution: int) -> LabelledImages:
    """The real pictures of a job; their classes do not matter.

    Raises:
        JobError: If there are none, or one cannot be read.
    """
    assert spec.images is not None  # settings without them name a network
    try:
        return load_images(spec.images, resolution)
    except JobError as error:
        raise of_setting(error, _SETTING) from error


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
