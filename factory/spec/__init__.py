"""The settings of a job, as types. Every settings class can be imported from here.

`job.py` begins at the whole job; `read.py` turns a file into one.
"""

from factory.spec.coverage import CoverageSpec
from factory.spec.job import (
    AcceptSpec,
    ClassKey,
    DatasetSpec,
    EncodeSpec,
    GeneratorSpec,
    JobSpec,
    LatentsSpec,
    OutputSpec,
    RunSpec,
)
from factory.spec.segmenters import (
    DistilSpec,
    FitSpec,
    KlishSpec,
    KMeansSpec,
    PluginSegmenterSpec,
    SegmenterSpec,
)
from factory.spec.style_mixing import StyleMixingSpec

__all__ = [
    "AcceptSpec",
    "ClassKey",
    "CoverageSpec",
    "DatasetSpec",
    "DistilSpec",
    "EncodeSpec",
    "FitSpec",
    "GeneratorSpec",
    "JobSpec",
    "KMeansSpec",
    "KlishSpec",
    "LatentsSpec",
    "OutputSpec",
    "PluginSegmenterSpec",
    "RunSpec",
    "SegmenterSpec",
    "StyleMixingSpec",
]
