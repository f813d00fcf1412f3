"""The settings of a training: the content of `jobs/train/*.yaml`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from factory.spec.anchor import anchor_paths
from factory.spec.check import check_settings
from factory.spec.settings import InputPath, IsInputPath, Settings
from factory.spec.yaml_file import load_yaml


class ImagesSpec(Settings):
    """The training pictures."""

    uri: InputPath
    """A folder, a tar, or WebDataset shards as a brace range (`cells-{000..011}.tar`). The class of
    a picture is the content of its `.cls` file, else the name of its folder."""
    symmetry: Literal["none", "mirror", "dihedral"] = "mirror"
    """Symmetries of the pictures: `mirror` = left and right may be exchanged, `dihedral` = all eight
    rotations and reflections, for objects without an upright orientation, such as cells."""
    attribution: str = ""
    """Attribution that must accompany generated images; written into the weights file."""
    license: str = ""
    """Licence of the weights, e.g. `CC-BY-4.0`; written into the weights file."""


class NetworkSpec(Settings):
    """The generator to train: a StyleGAN2, and a discriminator of the same widths."""

    resolution: int = Field(64, ge=8, le=1024)
    """Side of the images in pixels, a power of two."""
    initial: Annotated[str, IsInputPath()] = ""
    """Weights of a StyleGAN2 to start from: a file or `shipped:blood_cells`. They then determine the
    widths below. Empty = random initial weights."""
    z_dim: int = Field(128, ge=1)
    """Dimension of the latent z."""
    w_dim: int = Field(128, ge=1)
    """Dimension of the style w."""
    mapping_layers: int = Field(4, ge=1, le=16)
    """Layers of the mapping network."""
    channel_base: int = Field(2048, ge=16, multiple_of=16)
    """Channels at resolution r are `channel_base / r`, at least one ..."""
    channel_max: int = Field(128, ge=4, multiple_of=4)
    """... and at most this number."""

    @field_validator("resolution")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("must be a power of two")
        return value


class ScheduleSpec(Settings):
    """The training schedule."""

    num_images: int = Field(ge=1)
    """Total number of real pictures to show. Raise it and run again to continue."""
    batch_size: int = Field(32, ge=4, multiple_of=4)
    """Pictures per step, in groups of four of one class."""
    learning_rate: float = Field(0.0025, gt=0, le=1)
    """Learning rate of both networks (Adam, beta 0 and 0.99)."""
    r1_gamma: float = Field(0.2, ge=0)
    """Weight of R1, the gradient penalty of the discriminator on real pictures, at full resolution;
    at lower ones it is scaled by area. A first guess is 0.0002 x resolution^2 / batch_size (Karras et
    al. 2020); higher values are more stable."""
    path_length_weight: float = Field(0, ge=0)
    """Weight of path-length regularisation (2 in StyleGAN2); 0 = off, which saves its time."""
    style_mixing: float = Field(0.9, ge=0, le=1)
    """Share of images whose fine style rows come from a second latent."""
    augment_target: float = Field(0.6, ge=0, le=1)
    """Target of adaptive augmentation: mean sign of the discriminator's logits on real pictures above
    which augmentation becomes stronger; 0 switches augmentation off."""
    ema_images: float = Field(10_000, gt=0)
    """Half-life of the EMA weights, in pictures. The EMA weights are the ones that are written."""
    start_resolution: int = Field(0, ge=0)
    """Start at this resolution and double it up to `network.resolution`; 0 = no growing."""
    images_per_resolution: int = Field(200_000, ge=1)
    """Pictures shown before each doubling."""
    warm_up_images: int = Field(10_000, ge=0)
    """Pictures on which only the discriminator is trained whenever the generator is better trained
    than it: at the start from `network.initial`, and after each doubling."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the convolutions; the weights stay float32."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of all random numbers."""


class MachineSpec(Settings):
    """Device, threads, and intervals of saving and scoring."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` = a GPU if there is one. A training can be resumed on another device."""
    num_threads: int = Field(1, ge=1, le=256)
    """CPU threads per operation. Another number changes the last digits."""
    save_every_images: int = Field(10_000, ge=1)
    """Pictures between saves of the state: what a crash can lose."""
    judge_every_images: int = Field(50_000, ge=1)
    """Pictures between scorings of samples."""
    num_judged: int = Field(2_000, ge=10)
    """Number of samples, and of real pictures, that a score is computed from."""


class TrainSpec(Settings):
    """A training job."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    """Name of the generator."""
    images: ImagesSpec
    """The training pictures."""
    network: NetworkSpec = NetworkSpec()
    """The networks."""
    schedule: ScheduleSpec
    """The training schedule."""
    run: MachineSpec = MachineSpec()
    """Device, threads, and intervals."""
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
    """Read and validate a training job at `path`.

    Raises:
        JobError: If it cannot be read, is not YAML, or is invalid; the message has one line per
            problem.
    """
    document = load_yaml(path, noun="training's job file", keys="name, images, schedule, output")
    anchor_paths(document, TrainSpec, path.parent)
    return check_settings(TrainSpec, document, source=str(path))
