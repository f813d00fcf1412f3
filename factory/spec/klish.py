"""The settings of KLiSH (Xu et al., TPAMI 2023); the content of labels files is in `labels.py`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from factory.spec.fit import FitSpec, LayerNames
from factory.spec.labels import LabelsSpec, NodeId
from factory.spec.segmenters import MethodSettings
from factory.spec.settings import IdentityFields, InputPath, IsInputPath

_PUBLISHED_DATA = FitSpec(num_images=256, pixels_per_image="auto")

ClassCount = Annotated[int, Field(ge=2, le=255)]


def _refuse_path(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("a path is allowed in job files only; give the content of the labels file")
    return value


class KlishSpec(MethodSettings):
    """KLiSH (Xu et al., TPAMI 2023): k-means clusters merged by linear separability."""

    identity_fields = IdentityFields(
        (
            *("kind", "cut", "labels", "ignore_unclaimed", "fitted"),
            *("initial_clusters", "layers", "fit"),
        ),
        # The published rule is what was done before there was a choice: fits and datasets of that time
        # keep their ids under it. The default is another rule, and says so in every new id.
        later={"merging": "published"},
    )

    kind: Literal["klish"] = "klish"
    """`klish`."""
    cut: ClassCount | Literal["auto"] | list[NodeId] = "auto"
    """Classes of the masks: their number; `auto` = the number that the merge tree suggests; or a list of
    the tree's nodes that together cover every cluster once, to keep some parts fine and others
    coarse."""
    labels: Annotated[
        LabelsSpec | None,
        BeforeValidator(_refuse_path, json_schema_input_type=str | LabelsSpec),
        IsInputPath(),
    ] = None
    """Named classes instead of `cut`: the path of a labels file, relative to the job's file, or its
    content."""
    ignore_unclaimed: bool = False
    """Set pixels to 255 (ignore) where every class scores below 0, instead of the class of highest
    score."""
    fitted: InputPath | None = None
    """Path of a segmenter file with a merge tree (`factory fit -o`), used instead of a new fit; relative
    to the job's file."""
    initial_clusters: int = Field(100, ge=3, le=255)
    """Number of k-means clusters, which are then merged one pair at a time down to two."""
    merging: Literal["robust", "published"] = "robust"
    """Which clusters are merged: `robust` first asks which merges are cheap, with far pixels clipped;
    `published` is the paper's rule, which gives nearly all pixels to one class where features have
    heavy tails, as those of DCGANs have."""
    layers: LayerNames = "auto"
    """Names of the feature maps that the head reads. `auto` = of the last ones of each resolution, those
    whose clusters show what lies at a place, and not where it is or which image it is of, without the
    coarsest that exceed 1000 channels in total; with `merging: published`, as for `kmeans`."""
    fit: FitSpec = FitSpec(num_images=256, pixels_per_image=256)
    """The data of the fit. The default of `merging: published` is `pixels_per_image: auto`."""

    @model_validator(mode="before")
    @classmethod
    def _published_data(cls, value: Any) -> Any:  # noqa: ANN401 - its type is not checked yet
        """Fit by the published rule on as many pixels as before there was another rule.

        So that jobs that leave `fit` out keep their ids.
        """
        if not isinstance(value, Mapping) or value.get("merging") != "published":
            return value
        return value if {"fit", "fitted"} & value.keys() else {**value, "fit": _PUBLISHED_DATA}

    @model_validator(mode="after")
    def _possible_cut(self) -> "KlishSpec":
        if self.labels is not None and "cut" in self.model_fields_set:
            raise ValueError("`labels` defines the classes already; leave out `cut`")
        if self.fitted is None and isinstance(self.cut, int) and self.cut > self.initial_clusters:
            raise ValueError(
                f"`cut` asks for {self.cut} classes of {self.initial_clusters} `initial_clusters`; "
                "lower the one or raise the other"
            )
        return self
