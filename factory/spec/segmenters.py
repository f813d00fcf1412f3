"""The settings of segmenters: what makes the masks.

Style mixing has its settings in `mixing_spec.py`, the content of labels files is in `labels_spec.py`.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from factory.spec.labels import LabelsSpec, NodeId
from factory.spec.settings import Fraction, Settings
from factory.spec.style_mixing import StyleMixingSpec


class FitSpec(Settings):
    """What a segmenter without labels is fitted on: pixels streamed from the generator itself."""

    num_images: int = Field(128, ge=2)
    """Images to sample pixels from."""
    pixels_per_image: Annotated[int, Field(ge=1)] | Literal["auto"] = 512
    """Pixels taken from each, at random places. `auto` = as many as `memory_gib` holds, at most
    4096."""
    memory_gib: float = Field(2.0, gt=0, le=4096)
    """Memory that the fit may hold beside the generator, all workers together: pixels, scores and
    work arrays. It is here, not in `run`, because `auto` takes its pixels from it."""
    seed: int = Field(0, ge=0, lt=2**62)
    """Seed of the fitting images (never those of the dataset), the pixels and the clustering."""


def _refuse_path(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("a path can only stand in a job file; give the labels themselves here")
    return value


ClassCount = Annotated[int, Field(ge=2, le=255)]


class KMeansSpec(Settings):
    """Clusters of generator features by k-means: the baseline, and stage one of KLiSH."""

    kind: Literal["kmeans"]
    """`kmeans`."""
    num_clusters: int = Field(8, ge=2, le=255)
    """Number of classes in the masks."""
    layers: Literal["auto"] | list[str] = "auto"
    """Feature maps to use, by name. `auto` = the last one of each resolution, the coarsest dropped
    until at most 1000 channels are left."""
    fit: FitSpec = FitSpec()
    """What it is fitted on."""


class KlishSpec(Settings):
    """KLiSH (Xu et al., TPAMI 2023): k-means clusters merged by linear separability."""

    kind: Literal["klish"]
    """`klish`."""
    cut: ClassCount | Literal["auto"] | list[NodeId] = "auto"
    """Classes of the masks: how many; `auto` = as many as the merge tree suggests; or a list of the
    tree's nodes that together hold every cluster once, to keep some parts fine and others coarse."""
    labels: Annotated[
        LabelsSpec | None, BeforeValidator(_refuse_path, json_schema_input_type=str | LabelsSpec)
    ] = None
    """Named classes in place of `cut`: a labels file, or its content. The path is relative to the
    folder the command runs in."""
    ignore_unclaimed: bool = False
    """Give 255 to pixels that lie on the inner side of no class's plane, instead of the class that
    is nearest to claiming them."""
    fitted: str | None = Field(None, min_length=1)
    """A segmenter file with its merge tree (`factory fit -o`), used instead of fitting here. The path
    is relative to the folder the command runs in."""
    initial_clusters: int = Field(100, ge=3, le=255)
    """Clusters of the k-means stage, from which merging goes down to two."""
    layers: Literal["auto"] | list[str] = "auto"
    """Feature maps to use, as for `kmeans`."""
    fit: FitSpec = FitSpec(num_images=256, pixels_per_image="auto")
    """What it is fitted on."""

    @model_validator(mode="after")
    def _one_source(self) -> "KlishSpec":
        if self.labels is not None and "cut" in self.model_fields_set:
            raise ValueError("`labels` says which nodes are classes; leave out `cut`")
        if self.fitted is None and isinstance(self.cut, int) and self.cut > self.initial_clusters:
            raise ValueError(
                f"`cut` asks for {self.cut} classes of {self.initial_clusters} `initial_clusters`; "
                "lower the one or raise the other"
            )
        settled = sorted({"initial_clusters", "layers", "fit"} & self.model_fields_set)
        if self.fitted is not None and settled:
            raise ValueError(
                f"`fitted` names a file that is fitted already; leave out {', '.join(settled)}"
            )
        return self


class PluginSegmenterSpec(Settings):
    """A segmenter from outside this package."""

    kind: str = Field(pattern=r"^[\w.]+:[\w.]+$|^[\w-]+$")
    """`module:attribute`, or the name of an entry point in group `factory.segmenters`."""
    settings: dict[str, Any] = Field({})
    """Handed to the plugin as it is."""


_BUILT_IN = ("kmeans", "klish", "style_mixing", "distil")


def _segmenter_tag(value: object) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if kind in _BUILT_IN else "plugin"


TeacherSpec = Annotated[
    Annotated[KMeansSpec, Tag("kmeans")]
    | Annotated[KlishSpec, Tag("klish")]
    | Annotated[StyleMixingSpec, Tag("style_mixing")]
    | Annotated[PluginSegmenterSpec, Tag("plugin")],
    Discriminator(_segmenter_tag),
]


class DistilSpec(Settings):
    """A linear head that imitates a slow method: masks at the price of one forward pass."""

    kind: Literal["distil"]
    """`distil`."""
    teacher: TeacherSpec
    """The method to imitate: any other kind, with its own settings."""
    samples: int = Field(500, ge=10)
    """Images that the teacher labels."""
    drop_share: float = Field(0.2, ge=0, lt=1)
    """Share of the teacher's masks left out, the least certain ones; those it rejects always are."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of the rest that the head is scored on instead of fitted."""
    min_agreement: Fraction = 0.8
    """Fail if head and teacher agree less on the held-out images (mean over classes of IoU)."""
    pixels_per_image: int = Field(256, ge=1)
    """Pixels taken from each image, at random places."""
    layers: Literal["auto"] | list[str] = "auto"
    """Feature maps of the head, as for `kmeans`."""
    seed: int = Field(0, ge=0, lt=2**62)
    """Seed of the images (never those of the dataset) and of the pixels."""

    @field_validator("teacher")
    @classmethod
    def _no_instances(cls, value: TeacherSpec) -> TeacherSpec:
        if isinstance(value, StyleMixingSpec) and value.instances is not None:
            raise ValueError("a linear head tells no objects apart: leave out `instances`")
        return value

    @field_validator("teacher")
    @classmethod
    def _fitted_here(cls, value: TeacherSpec) -> TeacherSpec:
        if isinstance(value, KlishSpec) and value.fitted is not None:
            raise ValueError("a teacher is fitted with its head: leave out `fitted`")
        return value


SegmenterSpec = Annotated[
    Annotated[KMeansSpec, Tag("kmeans")]
    | Annotated[KlishSpec, Tag("klish")]
    | Annotated[StyleMixingSpec, Tag("style_mixing")]
    | Annotated[DistilSpec, Tag("distil")]
    | Annotated[PluginSegmenterSpec, Tag("plugin")],
    Discriminator(_segmenter_tag),
]
