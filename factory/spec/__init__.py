"""The settings of a job, as types. Every settings class can be imported from here.

`job.py` has the whole job, `read.py` reads one from a file, and `methods.py` is the table of segmenting
methods. The settings classes of methods are imported lazily.
"""

from typing import TYPE_CHECKING

from factory.spec.agreement import AgreementSpec
from factory.spec.compose import ComposeSpec
from factory.spec.coverage import CoverageSpec
from factory.spec.edit import EditSpec
from factory.spec.fit import FitSpec
from factory.spec.generators import GeneratorSpec
from factory.spec.job import (
    AcceptSpec,
    DatasetSpec,
    EncodeSpec,
    JobSpec,
    LatentsSpec,
)
from factory.spec.methods import METHODS, Method
from factory.spec.run import OutputSpec, RunSpec
from factory.spec.sampling import LayoutSpec
from factory.spec.segmenters import (
    MethodSettings,
    PluginSegmenterSpec,
    SegmenterSpec,
    settings_class,
)

__all__ = [
    "METHODS",
    "AcceptSpec",
    "AgreementSpec",
    "ComposeSpec",
    "CoverageSpec",
    "DatasetSpec",
    "EditSpec",
    "EncodeSpec",
    "FitSpec",
    "GeneratorSpec",
    "JobSpec",
    "LatentsSpec",
    "LayoutSpec",
    "Method",
    "MethodSettings",
    "OutputSpec",
    "PluginSegmenterSpec",
    "RunSpec",
    "SegmenterSpec",
]

if not TYPE_CHECKING:  # type checkers see the classes in their own modules

    def __getattr__(name: str) -> type[MethodSettings]:
        """The settings class `name` of one of our methods, e.g. `KMeansSpec`."""
        for kind, method in METHODS.items():
            if method.settings.endswith(f":{name}"):
                return settings_class(kind)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
