"""The settings of k-means."""

from typing import Literal

from pydantic import Field

from factory.spec.fit import FitSpec, LayerNames
from factory.spec.segmenters import MethodSettings
from factory.spec.settings import IdentityFields


class KMeansSpec(MethodSettings):
    """Clusters of generator features by k-means: the baseline, and stage one of KLiSH."""

    identity_fields = IdentityFields(("kind", "num_clusters", "layers", "fit"))

    kind: Literal["kmeans"] = "kmeans"
    """`kmeans`."""
    num_clusters: int = Field(8, ge=2, le=255)
    """Number of classes in the masks."""
    layers: LayerNames = "auto"
    """Feature maps to use, by name. `auto` = the last one of each resolution, the coarsest dropped
    until at most 1000 channels are left."""
    fit: FitSpec = FitSpec()
    """What it is fitted on."""
