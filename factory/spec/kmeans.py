"""The settings of k-means."""

from typing import Literal

from pydantic import Field

from factory.spec.fit import FitSpec, LayerNames
from factory.spec.segmenters import MethodSettings
from factory.spec.settings import IdentityFields


class KMeansSpec(MethodSettings):
    """Clusters of generator features by k-means: a baseline, and the first stage of KLiSH."""

    identity_fields = IdentityFields(("kind", "num_clusters", "layers", "fit"))

    kind: Literal["kmeans"] = "kmeans"
    """`kmeans`."""
    num_clusters: int = Field(8, ge=2, le=255)
    """Number of clusters, and so of mask classes."""
    layers: LayerNames = "auto"
    """Names of the feature maps that the head reads. `auto` = the last one of each resolution, without
    the coarsest ones that exceed 1000 channels in total."""
    fit: FitSpec = FitSpec()
    """The data of the fit."""
