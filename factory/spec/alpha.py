"""The settings of Labels4Free (Abdal et al., ICCV 2021): a foreground with soft edges."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from pydantic import Field, model_validator

from factory.spec.fit import FittingSeed
from factory.spec.segmenters import MethodSettings
from factory.spec.settings import Fraction, IdentityFields, InputPath

PresetName = Literal[
    "ffhq/paper", "ffhq/retrain", "horse/paper", "horse/retrain",
    "cat/paper", "cat/retrain", "car/paper", "car/retrain",
]  # fmt: skip
"""What the authors trained on, and for which result."""


@dataclass(frozen=True, slots=True)
class Preset:
    """The authors' values for one kind of object."""

    adversarial_weight: float
    """Weight of the critic's opinion."""
    mask_weight: float
    """Weight of decided pixels and of the foreground's least share."""
    background_weight: float
    """Weight of the background's least share."""
    least_background: float
    """Share of the background, at least."""
    steps: int
    """Training steps."""
    foreground_psi: float
    """Truncation of foregrounds in training."""
    learning_rate: float = 2e-4
    """Learning rate."""


PRESETS: Mapping[str, Preset] = {
    "ffhq/paper": Preset(1.0, 1.2, 0.0, 0.75, steps=1200, foreground_psi=1.0),
    "ffhq/retrain": Preset(1.0, 1.2, 3.0, 0.4, steps=2000, foreground_psi=1.0),
    "horse/paper": Preset(1.0, 3.0, 0.0, 0.75, steps=500, foreground_psi=1.0),
    "horse/retrain": Preset(1.0, 3.0, 6.0, 0.6, steps=2000, foreground_psi=1.0),
    "cat/paper": Preset(1.0, 3.0, 0.0, 0.75, steps=900, foreground_psi=0.5),
    "cat/retrain": Preset(1.0, 3.0, 4.0, 0.35, steps=2000, foreground_psi=0.5),
    "car/paper": Preset(1.0, 10.0, 0.0, 0.75, steps=50, foreground_psi=0.3, learning_rate=2e-3),
    "car/retrain": Preset(0.1, 20.0, 40.0, 0.75, steps=750, foreground_psi=0.3, learning_rate=8e-4),
}
"""By name. `paper` = the settings of the released networks, `retrain` = those that they advise."""


class AlphaSpec(MethodSettings):
    """Labels4Free (Abdal et al., ICCV 2021): the foreground with soft edges, from real pictures."""

    identity_fields = IdentityFields(
        (
            *("kind", "images", "network", "preset", "steps", "images_per_step", "learning_rate"),
            *("adversarial_weight", "mask_weight", "background_weight", "least_foreground"),
            *("least_background", "foreground_psi", "silenced", "symmetry", "threshold"),
            *("weights", "seed"),
        )
    )

    kind: Literal["alpha"] = "alpha"
    """`alpha`."""
    images: InputPath | None = None
    """Real pictures of what the generator makes, which composites must resemble: a folder, a tar, or
    shards as a brace range (`cells-{000..011}.tar`). All are held in memory, at the generator's size."""
    network: InputPath | None = None
    """Path of a training's file that the authors of Labels4Free released (`NNNNNN.pt`), whose alpha
    network is used instead of `images`; no other setting of the fit applies."""
    preset: PresetName = "ffhq/retrain"
    """The authors' values of the settings below that are empty, by kind of object. `paper` = those of
    the released networks, `retrain` = those that they advise for a training of one's own."""
    steps: int | None = Field(None, ge=1, le=1_000_000)
    """Training steps, each of the critic and of the network. Short schedules are part of the method."""
    images_per_step: int = Field(8, ge=4, le=1024, multiple_of=4)
    """Composites, and real pictures, of a step."""
    learning_rate: float | None = Field(None, gt=0, le=1)
    """Learning rate of Adam; the network's is 0.8 of it."""
    adversarial_weight: float | None = Field(None, ge=0, le=1000)
    """Weight of the critic's opinion of composites."""
    mask_weight: float | None = Field(None, ge=0, le=1000)
    """Weight of pixels being decided (near 0 or 1), and of `least_foreground`."""
    background_weight: float | None = Field(None, ge=0, le=1000)
    """Weight of `least_background`."""
    least_foreground: Fraction = 0.25
    """Share of an image that is foreground, at least."""
    least_background: Fraction | None = None
    """Share of an image that is background, at least."""
    foreground_psi: float | None = Field(None, ge=0, le=2)
    """Truncation of the training's foregrounds; its backgrounds have none."""
    silenced: Literal["auto", "stage", "constant"] = "auto"
    """How a background loses its object: `stage` = all that the stage of 4x4 pixels makes is 0,
    `constant` = the learned constant is. `auto` = `constant` for images of 512 px, else `stage`, as the
    authors do."""
    symmetry: Literal["none", "mirror", "dihedral"] = "mirror"
    """Symmetries of the real pictures: `mirror` = left and right may be exchanged, `dihedral` = all
    eight rotations and reflections."""
    threshold: float = Field(0.9, gt=0, lt=1)
    """Alpha above which a pixel is foreground in the mask. Changing it needs no other fit."""
    weights: Literal["average", "last"] = "average"
    """The network's weights: their running average, or those of the last step, which are what the
    authors' released files hold. Changing it needs no other fit."""
    seed: FittingSeed = 0
    """Seed of the first weights, and of the training's images and pictures."""

    @model_validator(mode="after")
    def _one_source(self) -> "AlphaSpec":
        if self.network is not None:
            beside = {"kind", "clean", "confidence", "network", "threshold"}
            if surplus := sorted(self.model_fields_set - beside):
                raise ValueError(
                    f"`network` names a fitted network; leave out {', '.join(surplus)}"
                )
        elif self.images is None:
            raise ValueError("needs `images`, real pictures, or a released `network`")
        return self

    def schedule(self) -> Preset:
        """The preset with the settings that the job gives in place of its own."""
        given = {field.name: getattr(self, field.name) for field in fields(Preset)}
        return replace(
            PRESETS[self.preset], **{k: value for k, value in given.items() if value is not None}
        )
