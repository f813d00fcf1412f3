"""The settings of Linear Semantics (Xu and Zheng, CVPR 2021): few-shot classes with names."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from factory.spec.fit import FittingSeed
from factory.spec.labels import ClassName, check_colour
from factory.spec.segmenters import MethodSettings
from factory.spec.settings import IdentityFields, InputPath, Settings, Weight

IGNORE_NAME = "ignore"
"""The name under which tools paint what belongs to no class; no class can have it."""


def _from_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class PaintedClass(Settings):
    """One class of the painted pictures."""

    identity_fields = IdentityFields(("name", "colour"))

    name: ClassName
    """Letters, digits and `_ - + . / ( )`, with single spaces between words; not a bare number, and not
    `ignore`, the name of what is not painted."""
    colour: Annotated[str, BeforeValidator(check_colour)] | None = None
    """`"#rrggbb"`: its colour in painted PNGs, and in pictures. Empty = one by its position."""


class LinearSpec(MethodSettings):
    """Linear Semantics (Xu and Zheng, CVPR 2021): named classes from a few painted pictures."""

    identity_fields = IdentityFields(
        (
            *("kind", "annotations", "extractor", "classes", "layers", "layer_weights", "loss"),
            *("layer_loss", "class_weights", "bias", "other", "rare_px", "epochs"),
            *("steps_per_epoch", "learning_rate", "lower_after", "redraw_noise", "folds"),
            *("patience", "seed"),
        ),
        left_out=("memory_gib",),
    )

    kind: Literal["linear"] = "linear"
    """`linear`."""
    annotations: InputPath | None = None
    """Folder of `factory sample` with pictures and what was painted on them, in files of any tool; its
    path is relative to the job's file."""
    extractor: InputPath | None = None
    """Path of an extractor that LinearGAN's authors released (`*_LSE.pth`), used instead of
    `annotations`; `layers` may name its feature maps, and no other setting of the fit applies."""
    classes: list[
        Annotated[
            PaintedClass, BeforeValidator(_from_name, json_schema_input_type=str | PaintedClass)
        ]
    ] = Field([], max_length=255)
    """The classes, by name or with a colour. A class's position is its mask value. Required beside
    `annotations`."""
    layers: Literal["all", "auto"] | list[str] = "all"
    """Feature maps that the head reads, by name; `auto` as for `kmeans`."""
    layer_weights: Literal["none", "softplus", "sigmoid"] = "none"
    """A trained weight for each feature map, and how a number becomes one: all are positive and add up
    to 1. The authors use `none` for few pictures, and `softplus` for thousands."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """Loss of a pixel; `focal` gives pixels that are right already less weight (gamma 2)."""
    layer_loss: float = Field(0.0, ge=0, le=10)
    """Share of the loss of each feature map by itself, which is added; 0.1 where the authors use it."""
    class_weights: Literal["none", "balanced"] | dict[str, Weight] = "none"
    """Weights of the classes in the loss, by name (others have 1); `balanced` = each class counts as
    much as any other, however few pixels it has."""
    bias: bool = False
    """Whether each class has a bias, which helps classes that are rare in the pictures."""
    other: str | None = None
    """The class as which classes are trained that are painted on fewer than `rare_px` pixels; they are
    never found themselves. Empty = every class must be painted."""
    rare_px: int = Field(32, ge=1)
    """Pixels that a class must be painted on if there is a class `other`."""
    epochs: int = Field(50, ge=1, le=10_000)
    """Number of epochs; with `folds`, at most."""
    steps_per_epoch: int = Field(128, ge=1, le=100_000)
    """Steps of one picture in each epoch, rounded up to whole passes over the pictures; weights change
    after each pass."""
    learning_rate: float = Field(1e-3, gt=0, le=10)
    """Learning rate of Adam; that of layer weights is ten times as high."""
    lower_after: int = Field(20, ge=1)
    """Number of epochs after which the learning rate falls to a tenth."""
    redraw_noise: bool = True
    """Whether the noise of the pictures is drawn again in each epoch, for generators with noise per
    sample: more variety from as many pictures."""
    folds: int = Field(0, ge=0, le=64)
    """Number of groups of pictures that are left out in turn: heads fitted on the others are scored on
    them, and training ends when the score does. The head is fitted on all pictures. 0 = no scores."""
    patience: int = Field(10, ge=1)
    """Epochs without a better score after which training ends; the best epoch's head is kept."""
    seed: FittingSeed = 0
    """Seed of the first weights and of redrawn noise."""
    memory_gib: float = Field(4.0, gt=0, le=4096)
    """Memory limit of the pictures' feature maps in GiB; it changes no byte."""

    @model_validator(mode="after")
    def _one_source(self) -> "LinearSpec":
        if self.extractor is not None:
            beside = {"kind", "clean", "confidence", "extractor", "classes", "layers", "memory_gib"}
            if surplus := sorted(self.model_fields_set - beside):
                raise ValueError(
                    f"`extractor` names a fitted extractor; leave out {', '.join(surplus)}"
                )
        elif self.annotations is None:
            raise ValueError("needs `annotations`, a folder of `factory sample`, or an `extractor`")
        elif len(self.classes) < 2:
            raise ValueError("`classes` must name the classes that are painted, two or more")
        return self

    @model_validator(mode="after")
    def _classes_can_be_told_apart(self) -> "LinearSpec":
        names = [one.name for one in self.classes]
        colours = [one.colour for one in self.classes if one.colour]
        for noun, found in (("named", names), ("coloured", colours)):
            if twice := sorted({value for value in found if found.count(value) > 1}):
                raise ValueError(f"two `classes` are {noun} {' and '.join(map(repr, twice))}")
        if IGNORE_NAME in names:
            raise ValueError(f"`classes` holds {IGNORE_NAME!r}, the name of what is not painted")
        weighted = self.class_weights if isinstance(self.class_weights, dict) else {}
        wanted = [("class_weights", name) for name in weighted]
        for setting, name in [*wanted, *([("other", self.other)] if self.other else [])]:
            if name not in names:
                raise ValueError(f"`{setting}` names {name!r}; the classes are {', '.join(names)}")
        return self
