"""The settings of a training: what `jobs/train/*.yaml` may say."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from factory.spec.read import check_settings, load_yaml
from factory.spec.settings import Settings


class ImagesSpec(Settings):
    """The pictures to learn from."""

    uri: str = Field(min_length=1)
    """A folder, a tar, or WebDataset shards as a brace range (`cells-{000..011}.tar`). The class of
    a picture is what its `.cls` file says, else the name of the folder it lies in."""
    symmetry: Literal["none", "mirror", "dihedral"] = "mirror"
    """Which views of a picture are as real as itself: `mirror` also from left to right, `dihedral`
    all eight turns and mirrors, for objects without an upright, such as cells."""
    attribution: str = ""
    """The line that must go with pictures made from these; written into the weights."""
    license: str = ""
    """The licence of the weights, e.g. `CC-BY-4.0`; written into them."""


class NetworkSpec(Settings):
    """The generator to train: a StyleGAN2, and a discriminator of the same widths."""

    resolution: int = Field(64, ge=8, le=1024)
    """Side of its pictures in pixels, a power of two."""
    initial: str = ""
    """Weights of a StyleGAN2 to go on from: a file or `shipped:blood_cells`. They then decide the
    widths below. Empty = begin with random numbers."""
    z_dim: int = Field(128, ge=1)
    """Numbers in a latent."""
    w_dim: int = Field(128, ge=1)
    """Numbers in a style."""
    mapping_layers: int = Field(4, ge=1, le=16)
    """Layers from latent to style."""
    channel_base: int = Field(2048, ge=16, multiple_of=16)
    """Feature maps at resolution r are `channel_base / r`, at least one ..."""
    channel_max: int = Field(128, ge=4, multiple_of=4)
    """... but at most these."""

    @field_validator("resolution")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("must be a power of two")
        return value


class ScheduleSpec(Settings):
    """How it learns."""

    num_images: int = Field(ge=1)
    """Real pictures to show in all. Raise it and run again to go on."""
    batch_size: int = Field(32, ge=4, multiple_of=4)
    """Pictures per step, in groups of four of one class."""
    learning_rate: float = Field(0.0025, gt=0, le=1)
    """Step of both networks (Adam, beta 0 and 0.99)."""
    r1_gamma: float = Field(0.2, ge=0)
    """Weight of the penalty on the discriminator's slope at real pictures of full size; smaller ones
    get less, by area. A first guess is 0.0002 x resolution^2 / batch_size (Karras et al. 2020); more
    is calmer."""
    path_length_weight: float = Field(0, ge=0)
    """Weight of path-length regularisation (2 in StyleGAN2); 0 spares its time."""
    style_mixing: float = Field(0.9, ge=0, le=1)
    """Share of pictures whose fine style rows come from a second latent."""
    augment_target: float = Field(0.6, ge=0, le=1)
    """How certain the discriminator may be of real pictures before the augmentation grows; 0 switches
    augmentation off."""
    ema_images: float = Field(10_000, gt=0)
    """Half-life, in pictures, of the mean generator that is written."""
    start_resolution: int = Field(0, ge=0)
    """Begin at this resolution and double it until `network.resolution`; 0 = no growing."""
    images_per_resolution: int = Field(200_000, ge=1)
    """Pictures shown before each doubling."""
    warm_up_images: int = Field(10_000, ge=0)
    """Pictures on which the discriminator learns alone when it meets a generator that is ahead of
    it: after `network.initial`, and after each doubling."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Arithmetic of the convolutions; the weights stay float32."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of everything that is drawn."""


class MachineSpec(Settings):
    """Where it computes and when it writes."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` = a GPU if there is one. A training may go on on the other kind."""
    num_threads: int = Field(1, ge=1, le=256)
    """CPU threads of one operation. Another number changes the last digits."""
    save_every_images: int = Field(10_000, ge=1)
    """What a sudden end may cost."""
    judge_every_images: int = Field(50_000, ge=1)
    """How often samples are drawn and scored."""
    num_judged: int = Field(2_000, ge=10)
    """Samples, and real pictures, that a score is made from."""


class TrainSpec(Settings):
    """One training."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    """Name of the generator."""
    images: ImagesSpec
    """What it learns from."""
    network: NetworkSpec = NetworkSpec()
    """What learns."""
    schedule: ScheduleSpec
    """How."""
    run: MachineSpec = MachineSpec()
    """On what machine."""
    output: str = Field(min_length=1)
    """Folder for weights, state, scores and sample sheets."""

    @model_validator(mode="after")
    def _fits(self) -> "TrainSpec":
        start = self.schedule.start_resolution
        if start and (start & (start - 1) or not 8 <= start <= self.network.resolution):
            raise ValueError(
                "schedule.start_resolution must be 0 or a power of two from 8 to network.resolution"
            )
        if self.network.channel_base < self.network.resolution:
            raise ValueError(
                f"network.channel_base is {self.network.channel_base}; it must be at least "
                f"network.resolution, which is {self.network.resolution}"
            )
        if start and start != self.network.resolution and self.network.initial:
            raise ValueError(
                "network.initial is a generator of full size; schedule.start_resolution must be 0"
            )
        return self


def load_training(path: Path) -> TrainSpec:
    """Read and check the file of a training at `path`.

    Raises:
        JobError: If it cannot be read, is not YAML, or breaks a rule; the message holds one line
            per problem.
    """
    document = load_yaml(path, noun="training's job file", keys="name, images, schedule, output")
    return check_settings(TrainSpec, document, source=str(path))
