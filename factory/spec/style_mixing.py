"""The settings of style mixing.

Feng et al., CVPR 2023, "Network-free, unsupervised semantic segmentation with synthetic images". The
paper does not state its settings: the values are ours; where an independent re-implementation is known
to differ, the docstring says so.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from factory.spec.segmenters import MethodSettings
from factory.spec.settings import Fraction, IdentityFields, Settings, Sha256


class ForegroundSpec(Settings):
    """Rules by which clusters are foreground: those nearer to the centre than the average pixel."""

    identity_fields = IdentityFields(
        ("max_border_share", "share", "min_contrast"),
        gone={"centre_sigma": 0.5, "border_width": 1 / 32, "border_weight": 1.0},
    )

    max_border_share: Fraction = 0.3
    """Maximum share of the image's border ring in a foreground cluster; above it, the cluster is
    background whatever its score."""
    share: tuple[Fraction, Fraction] = (0.05, 0.9)
    """Allowed range of the foreground's share of the pixels; other masks are rejected."""
    min_contrast: float = Field(0.1, ge=0, le=2)
    """Minimum difference between the scores of foreground and background; other masks are rejected."""

    @field_validator("share")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("the first share is the minimum and must not exceed the second")
        return value


class SharedClassesSpec(Settings):
    """Classes shared by all images, for more than foreground and background."""

    identity_fields = IdentityFields(("num_classes", "layers", "num_images", "seed"))

    num_classes: int = Field(ge=2, le=255)
    """Number of prototypes, and so of mask classes. A cluster gets the class of the prototype nearest to
    its signature, the mean of the generator's features over its pixels."""
    layers: Literal["auto"] | list[str] = "auto"
    """Feature maps of the signature, as for `kmeans`."""
    num_images: int = Field(64, ge=2)
    """Number of images that the prototypes are fitted on."""
    seed: int = Field(0, ge=0, lt=2**62)
    """Seed of those images (never those of the dataset) and of the prototypes."""


class InstancesSpec(Settings):
    """Instances: object ids in `KEY.instances.png` (16 bit), boxes and classes in `KEY.json`."""

    identity_fields = IdentityFields(
        (*("detector", "sha256", "class_names", "class_offset", "min_score", "min_px"),)
    )

    detector: str = "components"
    """`components` = connected components of the foreground, for images of one kind of object.
    Otherwise a detector of boxes, and pixels are clustered inside each box: the path of an `.onnx`
    file, or `module:attribute`, called with the generator's facts; see
    `factory/segment/objects/detectors.py`."""
    sha256: Sha256 | None = None
    """SHA-256 of the `.onnx` file, required because the detector decides bytes."""
    class_names: list[str] = Field(["object"], min_length=1)
    """Names of the detector's classes, by class id from 0; `components` has one class."""
    class_offset: int = Field(0, ge=0)
    """Id of the detector's first class: 1 if 0 is its background."""
    min_score: Fraction = 0.5
    """Minimum score of a box."""
    min_px: int = Field(16, ge=1)
    """Minimum pixels of an instance."""

    @model_validator(mode="after")
    def _digest_for_a_file(self) -> "InstancesSpec":
        if self.is_onnx and self.sha256 is None:
            raise ValueError(
                "an .onnx detector decides bytes: add its sha256 (`sha256sum FILE` prints it)"
            )
        return self

    @property
    def is_onnx(self) -> bool:
        """Whether the detector is an ONNX file."""
        return self.detector.endswith(".onnx")


class StyleMixingSpec(MethodSettings):
    """Style mixing and colour clustering (Feng et al., CVPR 2023): no network, no labels."""

    identity_fields = IdentityFields(
        (
            *("kind", "num_variants", "variant_psi", "start", "stop_px", "num_clusters"),
            *("refine_px", "foreground", "classes", "instances"),
        ),
        gone={"standardise": True, "restarts": 3, "rounds": 25, "refine_epsilon": 1e-3},
    )

    kind: Literal["style_mixing"] = "style_mixing"
    """`style_mixing`."""
    num_variants: int = Field(20, ge=2, le=1000)
    """Variants per image, with the same coarse styles and other fine ones. The re-implementation: 50."""
    variant_psi: float = Field(0.7, ge=0, le=2)
    """Truncation of the variants' styles. The re-implementation has the same value."""
    start: str = "auto"
    """First layer that takes a variant's style, by name; those before it are computed once. `auto` =
    the last layer of 64 px, or of a quarter of the resolution below 256 px. The re-implementation
    draws the slot from 6 to 9 of 18, 32 to 128 px."""
    stop_px: int | Literal["auto"] = "auto"
    """Rows at which variants are compared. `auto` = 128, or a quarter of the resolution below 512 px but
    at least 16, if the generator has an RGB output there (StyleGAN2's skip architecture). Other
    generators make whole variants, which `auto` averages to that size. The re-implementation compares
    whole images."""
    num_clusters: int = Field(4, ge=2, le=64)
    """Clusters of pixels per image; scenes need more. The re-implementation: 3."""
    refine_px: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = "auto"
    """Radius in pixels of the guided filter that aligns edges with the image; 0 = none. `auto` = half a
    clustered pixel, at least 2."""
    foreground: ForegroundSpec = ForegroundSpec()
    """Rules by which clusters are foreground. Not used with `classes`."""
    classes: SharedClassesSpec | None = None
    """Classes shared by all images. Empty = background and foreground."""
    instances: InstancesSpec | None = None
    """Instances of objects. Empty = masks of classes only."""

    @model_validator(mode="after")
    def _one_kind_of_classes(self) -> "StyleMixingSpec":
        if self.classes is not None and self.instances is not None:
            raise ValueError("instances are parts of the foreground: leave out `classes`")
        return self
