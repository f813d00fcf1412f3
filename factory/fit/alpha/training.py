"""The training of an alpha network, step by step: the critic learns, then the network.

Source: Abdal et al., "Labels4Free", ICCV 2021, section 3, and the authors' code: foreground and
background come from one latent, the critic sees composites and real pictures, only the alpha network
learns from it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from factory.data import LatentBatch
from factory.errors import JobError
from factory.fit.alpha.collapse import CollapseDetector
from factory.fit.alpha.critic import start_critic
from factory.fit.alpha.losses import (
    R1_EVERY,
    R1_GAMMA,
    AlphaLoss,
    composite,
    decay_of,
    update_average,
)
from factory.fit.pixels.sampling import fitting_latents
from factory.generate.base import (
    BackgroundRenderer,
    DifferentiableGenerator,
    Generator,
    Silenced,
)
from factory.generate.numerics import Numerics, colours_on_white
from factory.segment.alpha.network import (
    AlphaNetwork,
    Levels,
    find_levels,
    flat,
    tensor_shapes,
)
from factory.spec import DatasetSpec
from factory.spec.alpha import AlphaSpec
from factory.train_generator.discriminator import Discriminator
from factory.train_generator.images import LabelledImages
from factory.train_generator.losses import discriminator_loss, r1_penalty
from factory.train_generator.optimiser import Adam
from factory.train_generator.step import draw_batch, step_rng

_FIRST_STEP = 2**62
"""A step that no training reaches: its random numbers are those of the first weights."""

_CONSTANT_AT_PX = 512

_ALPHA_RATIO, _CRITIC_RATIO = 4 / 5, R1_EVERY / (R1_EVERY + 1)
"""Corrections of rate and momentum for penalties that are taken now and then (Karras et al. 2020,
StyleGAN2, appendix B); the authors took over that of a generator, which their network lacks."""

Tensors = dict[str, Tensor]


def silenced_of(spec: AlphaSpec, resolution: int) -> Silenced:
    """How backgrounds of images of `resolution` lose their object."""
    if spec.silenced != "auto":
        return spec.silenced
    return "constant" if resolution == _CONSTANT_AT_PX else "stage"


@dataclass(frozen=True, slots=True)
class Images:
    """What a network makes masks of, and what a composite is made of."""

    foreground: Float[Tensor, "n 3 h w"]
    """Images with their object, -1 to 1."""
    background: Float[Tensor, "n 3 h w"]
    """The same latents without."""
    features: Tensors
    """Feature maps of the foreground."""


class ImageSource:
    """Foregrounds and backgrounds of fitting latents."""

    def __init__(
        self, spec: AlphaSpec, generator: Generator, dataset: DatasetSpec, device: torch.device
    ) -> None:
        """Make images with `generator`, on `device`."""
        assert isinstance(generator, DifferentiableGenerator)
        assert isinstance(generator, BackgroundRenderer)
        self._spec, self.dataset, self.device = spec, dataset, device
        self._generator, self._renderer, self._backgrounds = generator, generator, generator
        self.levels = find_levels(generator.facts)
        self._psi = spec.schedule().foreground_psi
        self._silenced = silenced_of(spec, generator.facts.resolution)

    @torch.no_grad()
    def make(self, numbers: Sequence[int]) -> Images:
        """The images of fitting latents by number."""
        drawn = fitting_latents(self._generator, self.dataset, self._spec.seed, numbers)
        near = replace(drawn, truncation_psi=self._psi)
        z = torch.from_numpy(near.z).to(self.device, torch.float32)[:, None]
        rendering = self._renderer.render(z, near, flat(self.levels))
        behind = self._backgrounds.render_background(_other_noise(drawn), self._silenced)
        return Images(
            colours_on_white(rendering.colours),
            colours_on_white(behind),
            dict(rendering.features),
        )


def _other_noise(latents: LatentBatch) -> LatentBatch:
    """The latents of backgrounds: not truncated, and with noise of their own where it is drawn."""
    seed = latents.noise_seed
    noise_seed = None if seed is None else seed ^ 1
    return replace(latents, truncation_psi=1.0, truncation_cutoff=None, noise_seed=noise_seed)


def first_network(levels: Levels, channels: Sequence[int], rng: torch.Generator) -> Tensors:
    """A network before training: uniform within 1 / sqrt(inputs), as a convolution's weights are."""
    tensors = {}
    bound = 1.0
    for name, shape in tensor_shapes(levels, channels).items():
        if name.endswith(".weight"):  # the bias of the same convolution comes next
            bound = 1 / math.sqrt(shape[1])
        tensors[name] = (torch.rand(shape, generator=rng) * 2 - 1) * bound
    return tensors


class AlphaTraining:
    """The state of a training. Every step is a function of it, the settings and the step's number."""

    def __init__(
        self, spec: AlphaSpec, source: ImageSource, generator: Generator, device: torch.device
    ) -> None:
        """Begin at the first step."""
        self._spec, self._source, self._device = spec, source, device
        self.schedule = spec.schedule()
        self._loss = AlphaLoss(
            self.schedule.adversarial_weight,
            self.schedule.mask_weight,
            self.schedule.background_weight,
            self.schedule.least_background,
            spec.least_foreground,
        )
        facts, rng = generator.facts, step_rng(spec.seed, _FIRST_STEP)
        channels = [facts.layers[name].channels for name in flat(source.levels)]
        self.network = self._on_device(first_network(source.levels, channels, rng))
        self.average = {name: tensor.clone() for name, tensor in self.network.items()}
        start = start_critic(source.dataset.generator, facts, rng)
        self.has_own_critic, self._form = start.is_own, start.form
        self.critic = self._on_device(start.tensors)
        self._side = facts.resolution
        self._network_steps = Adam(0.99**_ALPHA_RATIO)
        self._critic_steps = Adam(0.99**_CRITIC_RATIO)
        self._collapse = CollapseDetector(self.schedule.steps)
        self.step, self.loss = 0, 0.0

    def take_step(self, pictures: LabelledImages) -> None:
        """Take one step with real `pictures`.

        Raises:
            JobError: If the training has diverged, or its masks collapsed.
        """
        count, rng = self._spec.images_per_step, step_rng(self._spec.seed, self.step)
        start = 2 * self.step * count
        real = draw_batch(pictures, count, self._spec.symmetry, rng, self._device).real
        with torch.no_grad():
            images = self._source.make(range(start, start + count))
            fake = self._composite(self.network, images)[0]
        self._train_critic(real, fake)
        self._train_network(self._source.make(range(start + count, start + 2 * count)))
        self.step += 1
        update_average(self.average, self.network, decay_of(self.step))

    def _train_critic(self, real: Tensor, fake: Tensor) -> None:
        learned = {name: one.detach().requires_grad_() for name, one in self.critic.items()}
        critic = self._critic_of(learned)
        logits = critic(torch.cat([real, fake]), None)
        loss = discriminator_loss(logits[: len(real)], logits[len(real) :])
        if self.step % R1_EVERY == 0:
            loss = loss + r1_penalty(lambda x: critic(x, None), real, R1_GAMMA) * R1_EVERY
        rate = self.schedule.learning_rate * _CRITIC_RATIO
        self._critic_steps.step(self.critic, _gradients(loss, learned), rate)

    def _train_network(self, images: Images) -> None:
        learned = {name: one.detach().requires_grad_() for name, one in self.network.items()}
        fake, alpha = self._composite(learned, images)
        loss = self._loss(alpha, self._critic_of(self.critic)(fake, None))
        self.loss = float(loss.detach())
        if not math.isfinite(self.loss):
            raise JobError(
                where="dataset.segmenter.learning_rate",
                found=f"the loss is {self.loss} after {self.step} steps: the training has diverged",
                remedy="lower it",
            )
        rate = self.schedule.learning_rate * _ALPHA_RATIO
        self._network_steps.step(self.network, _gradients(loss, learned), rate)
        self._collapse.observe(self.step + 1, alpha)

    def _composite(self, tensors: Tensors, images: Images) -> tuple[Tensor, Tensor]:
        alpha = AlphaNetwork(self._source.levels, tensors)(images.features)
        return composite(images.foreground, images.background, alpha), alpha

    def _critic_of(self, tensors: Tensors) -> Discriminator:
        at = Numerics(self._device, torch.float32)
        return Discriminator(tensors, self._side, at, self._form)

    def kept(self) -> Tensors:
        """Everything that the next step depends on, by name."""
        runs = self._collapse.runs
        figures = [self.step, self.loss, runs["background"], runs["foreground"]]
        kept = {"figures": torch.tensor(figures, dtype=torch.float64)}
        for part, tensors in self._parts().items():
            kept |= {f"{part}/{name}": tensor for name, tensor in tensors.items()}
        return kept

    def restore(self, kept: Tensors) -> None:
        """Go on from what `kept` gave; what is not whole is as good as nothing."""
        own = {part: dict(tensors) for part, tensors in self._parts().items()}
        own["network_moments"] = own["network"]
        own["critic_moments"] = own["critic"]
        expected = {
            f"{part}/{n}": one.shape for part, group in own.items() for n, one in group.items()
        }
        found = {name: one.shape for name, one in kept.items() if name != "figures"}
        if found != expected or "figures" not in kept:
            return

        def take(part: str) -> Tensors:
            return {name: kept[f"{part}/{name}"].to(self._device).clone() for name in own[part]}

        step, self.loss, background, foreground = kept["figures"].tolist()
        self.step = int(step)
        self._collapse.runs = {"background": int(background), "foreground": int(foreground)}
        self.network, self.average, self.critic = map(take, ("network", "average", "critic"))
        self._network_steps.moments = take("network_moments")
        self._critic_steps.moments = take("critic_moments")
        for steps in (self._network_steps, self._critic_steps):
            steps.steps = dict.fromkeys(steps.moments, self.step)

    def _parts(self) -> dict[str, Tensors]:
        return {
            "network": self.network,
            "average": self.average,
            "critic": self.critic,
            "network_moments": self._network_steps.moments,
            "critic_moments": self._critic_steps.moments,
        }

    def _on_device(self, tensors: Tensors) -> Tensors:
        return {name: tensor.to(self._device) for name, tensor in tensors.items()}


def _gradients(loss: Tensor, learned: Tensors) -> Tensors:
    return dict(zip(learned, torch.autograd.grad(loss, list(learned.values())), strict=True))
