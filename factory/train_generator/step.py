"""One training step: update the discriminator, then the generator, then the EMA weights."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from factory.generate.numerics import Numerics
from factory.identity import counter_rng
from factory.train_generator.augment import augment
from factory.train_generator.discriminator import GROUP, Discriminator
from factory.train_generator.generator import (
    Tensors,
    fresh_noise,
    is_learned,
    mixed_styles,
    network_of,
)
from factory.train_generator.images import LabelledImages
from factory.train_generator.losses import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    r1_penalty,
)
from factory.train_generator.spec import ScheduleSpec
from factory.train_generator.state import State
from factory.train_generator.transfer import to_device

# Lazy regularisation (Karras et al. 2020, StyleGAN2, section 3.1): the penalties need second
# derivatives, so they are taken every 16th and 4th step and weighted by as much. The intervals are
# the ADA program's.
_R1_EVERY = 16
_PATH_EVERY = 4
_ADAPT_EVERY = 4


Losses = dict[str, Tensor]
"""Losses of a step by name: single numbers on the device."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The real pictures of one step."""

    real: Float[Tensor, "n 3 h w"]
    """Real pictures, -1 to 1."""
    labels: Float[Tensor, "n k"] | None
    """One-hot classes in runs of `GROUP` equal ones; None without classes."""


def step_rng(seed: int, step: int) -> torch.Generator:
    """Random numbers of a step, a function of (seed, step): a resumed training draws the same ones."""
    return torch.Generator().manual_seed(int(counter_rng("training", seed, step).integers(2**63)))


def draw_batch(
    images: LabelledImages, count: int, symmetry: str, rng: torch.Generator, device: torch.device
) -> Batch:
    """Draw groups of random pictures, one class per group; all classes are equally likely."""
    num_classes = len(images.groups)
    classes = torch.randint(num_classes, (count // GROUP,), generator=rng).repeat_interleave(GROUP)
    rows = torch.empty(count, dtype=torch.int64)
    for class_id in range(num_classes):
        members = images.members(class_id)
        chosen = classes == class_id
        drawn = torch.randint(len(members), (int(chosen.sum()),), generator=rng)
        rows[chosen] = members[drawn]
    drawn = random_view(images.pixels[rows], symmetry, rng)
    real = to_device(drawn, device).float() / 127.5 - 1
    return Batch(real, one_hot(classes, images, device))


def one_hot(
    classes: Int64[Tensor, " n"], images: LabelledImages, device: torch.device
) -> Float[Tensor, "n k"] | None:
    """One-hot labels for the networks; None without classes."""
    if not images.class_names:
        return None
    return to_device(functional.one_hot(classes, len(images.class_names)).float(), device)


def random_view(
    pixels: UInt8[Tensor, "n 3 h w"], symmetry: str, rng: torch.Generator
) -> UInt8[Tensor, "n 3 h w"]:
    """Apply a random symmetry to each picture."""
    result = pixels.clone()
    if symmetry != "none":
        mirrored = torch.rand(len(pixels), generator=rng) < 0.5
        result[mirrored] = result[mirrored].flip(3)
    if symmetry == "dihedral":
        turns = torch.randint(4, (len(pixels),), generator=rng)
        for number in (1, 2, 3):
            result[turns == number] = result[turns == number].rot90(number, dims=(2, 3))
    return result


@dataclass(frozen=True, slots=True)
class Step:
    """One training step; modifies `state` in place."""

    state: State
    schedule: ScheduleSpec
    batch: Batch
    rng: torch.Generator
    at: Numerics

    def take(self) -> Losses:
        """Update both networks; returns the losses, still on the device.

        A GPU is not waited for, but where the strength of the augmentation is adapted.
        """
        state, count = self.state, len(self.batch.real)
        learned = {n: t.requires_grad_() for n, t in state.generator.items() if is_learned(n)}
        network = network_of(state.generator, state.kwargs, self.at)
        drawn = torch.randn(2, count, network.mapping.z_dim, generator=self.rng)
        z = to_device(drawn, self.at.device)
        waits = state.num_images < state.warm_up_until
        with torch.set_grad_enabled(not waits):
            ws = mixed_styles(network, z, self.batch.labels, self.schedule.style_mixing, self.rng)
            fake, _ = network.synthesise(ws, fresh_noise(network, count, self.rng))
        losses = self._train_discriminator(fake.detach())
        if not waits:
            losses |= self._train_generator(fake, ws, learned)
            self._update_ema()
            if state.num_steps % _ADAPT_EVERY == 0 and self.schedule.augment_target:
                state.adaptation = state.adaptation.updated(self.schedule.augment_target)
        for tensor in learned.values():
            tensor.requires_grad_(False)  # noqa: FBT003 - torch's signature
        state.num_steps += 1
        state.num_images += count
        return losses

    def _train_discriminator(self, fake: Tensor) -> Losses:
        state, labels = self.state, self.batch.labels
        tensors = {n: tensor.detach().requires_grad_() for n, tensor in state.discriminator.items()}
        discriminate = Discriminator(tensors, state.resolution, self.at)
        real = self._augmented(self.batch.real)
        seen = torch.cat([real, self._augmented(fake)])
        logits = discriminate(seen, None if labels is None else torch.cat([labels, labels]))
        of_real, of_fake = logits[: len(real)], logits[len(real) :]
        loss = discriminator_loss(of_real, of_fake)
        losses = {"discriminator": loss.detach()}
        if self.schedule.r1_gamma and state.num_steps % _R1_EVERY == 0:
            # In float32: the penalty is a squared gradient, and bfloat16 keeps 8 bits of it.
            exact = Discriminator(tensors, state.resolution, replace(self.at, dtype=torch.float32))
            gamma = (
                self.schedule.r1_gamma * (state.resolution / state.kwargs["img_resolution"]) ** 2
            )
            penalty = r1_penalty(lambda x: exact(x, labels), real, gamma)
            losses["r1"] = penalty.detach()
            loss = loss + penalty * _R1_EVERY
        gradients = torch.autograd.grad(loss, list(tensors.values()))
        named = dict(zip(tensors, gradients, strict=True))
        state.discriminator_steps.step(state.discriminator, named, self.schedule.learning_rate)
        state.adaptation = state.adaptation.observed(of_real.detach())
        return losses

    def _train_generator(self, fake: Tensor, ws: Tensor, learned: Tensors) -> Losses:
        state, weight = self.state, self.schedule.path_length_weight
        discriminate = Discriminator(state.discriminator, state.resolution, self.at)
        loss = generator_loss(discriminate(self._augmented(fake), self.batch.labels))
        losses = {"generator": loss.detach()}
        if weight and state.num_steps % _PATH_EVERY == 0:
            penalty, state.mean_path = path_length_penalty(fake, ws, state.mean_path, self.rng)
            losses["path"] = penalty.detach()
            loss = loss + penalty * (weight * _PATH_EVERY)
        gradients = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
        named = {n: g for n, g in zip(learned, gradients, strict=True) if g is not None}
        state.generator_steps.step(state.generator, named, self.schedule.learning_rate)
        return losses

    def _augmented(self, images: Tensor) -> Tensor:
        return augment(images, self.state.adaptation.p, self.rng)

    def _update_ema(self) -> None:
        """Update the EMA weights, with a half-life in pictures: the same for any batch size."""
        share = 1 - 0.5 ** (len(self.batch.real) / self.schedule.ema_images)
        learned = {n: t.detach() for n, t in self.state.generator.items() if is_learned(n)}
        averages = [self.state.ema[name] for name in learned]
        torch._foreach_lerp_(averages, list(learned.values()), share)
