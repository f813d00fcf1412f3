"""The settings of KLiSH (Xu et al., TPAMI 2023); the content of its labels files is in `labels.py`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from factory.spec.fit import FitSpec, LayerNames
from factory.spec.labels import LabelsSpec, NodeId
from factory.spec.segmenters import MethodSettings
from factory.spec.settings import IdentityFields

ClassCount = Annotated[int, Field(ge=2, le=255)]


def _refuse_path(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("a path can only stand in a job file; give the labels themselves here")
    return value


class KlishSpec(MethodSettings):
    """KLiSH (Xu et al., TPAMI 2023): k-means clusters merged by linear separability."""

    identity_fields = IdentityFields(
        (
            *("kind", "cut", "labels", "ignore_unclaimed", "fitted"),
            *("initial_clusters", "layers", "fit"),
        )
    )

    kind: Literal["klish"] = "klish"
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
    layers: LayerNames = "auto"
    """Feature maps to use, as for `kmeans`."""
    fit: FitSpec = FitSpec(num_images=256, pixels_per_image="auto")
    """What it is fitted on."""

    @model_validator(mode="after")
    def _possible_cut(self) -> "KlishSpec":
        if self.labels is not None and "cut" in self.model_fields_set:
            raise ValueError("`labels` says which nodes are classes; leave out `cut`")
        if self.fitted is None and isinstance(self.cut, int) and self.cut > self.initial_clusters:
            raise ValueError(
                f"`cut` asks for {self.cut} classes of {self.initial_clusters} `initial_clusters`; "
                "lower the one or raise the other"
            )
        return self
