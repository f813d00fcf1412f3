"""The settings of a job and its sections; those of segmenting methods have files of their own.

`dataset` is what is made, `run` how, `output` where. Nothing in `run` or `output` changes a byte.
The docstring of each field is also its schema description.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from factory.arguments import check_arguments
from factory.spec.agreement import AgreementSpec
from factory.spec.check import check_settings, copy_values
from factory.spec.compose import ComposeSpec
from factory.spec.coverage import CoverageSpec
from factory.spec.edit import EditSpec
from factory.spec.generators import GeneratorSpec
from factory.spec.inline import inline_files
from factory.spec.run import OutputSpec, RunSpec
from factory.spec.sampling import LayoutSpec
from factory.spec.segmenters import SegmenterSpec
from factory.spec.settings import (
    ClassKey,
    ClassKeys,
    DatasetName,
    Fraction,
    IdentityFields,
    InputPath,
    Settings,
    Weight,
)
from factory.spec.splits import SplitsSpec


class LatentsSpec(Settings):
    """How latents are drawn from the generator's latent space."""

    identity_fields = IdentityFields(
        ("seed", "draw", "truncation_psi", "truncation_cutoff", "classes")
    )

    seed: int = Field(0, ge=0, lt=2**63)
    """Sample i is a pure function of (seed, i)."""
    draw: Literal["counter", "nvidia_seed"] = "counter"
    """Random number generator of the latents: `counter` = counter-based, keyed by (seed, i);
    `nvidia_seed` = as in NVIDIA's tools with seed `seed + i`, so that images are equal to theirs."""
    truncation_psi: float = Field(1.0, ge=0, le=2)
    """Truncation: latents are moved towards the mean latent. 1 = none; 0.5 = less variety and fewer
    broken images."""
    truncation_cutoff: int | None = Field(None, ge=0)
    """Number of style rows that are truncated, from the first (coarsest) one. Empty = all rows."""
    classes: Annotated[list[int | str] | dict[int | str, Weight] | None, ClassKeys] = None
    """Classes of a class-conditional generator, by name or number: those of a list are used in turn, of
    a mapping to weights they are drawn at random. Empty = all classes in turn."""

    @property
    def sameness(self) -> str:
        """What to warn of if all samples come out alike; else empty."""
        if self.truncation_psi or self.truncation_cutoff is not None:
            return ""
        return (
            "dataset.latents.truncation_psi is 0: all samples of a class are alike, but for noise"
        )

    @field_validator("classes")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if value is not None and not value:
            raise ValueError("names no class; leave it out to use all classes")
        return value


class AcceptSpec(Settings):
    """Rules by which samples are accepted.

    A rejected sample is counted by reason, and replaced from the indices that its shard owns.
    """

    identity_fields = IdentityFields(
        ("min_confidence", "class_share"), later={"min_agreement": 0.0}
    )

    min_confidence: Fraction = 0.0
    """Minimum confidence in a sample's mask."""
    min_agreement: Fraction = 0.0
    """Minimum agreement of a sample's mask with those of other methods (`dataset.agreement`)."""
    class_share: Annotated[dict[ClassKey, tuple[Fraction, Fraction]], ClassKeys] = Field({})
    """Allowed range of each class's share of the mask, e.g. `{nucleus: [0.05, 0.6]}`; classes by name or
    mask value."""

    @field_validator("class_share")
    @classmethod
    def _in_order(
        cls, value: dict[ClassKey, tuple[float, float]]
    ) -> dict[ClassKey, tuple[float, float]]:
        if any(least > most for least, most in value.values()):
            raise ValueError("the first share is the minimum and must not exceed the second")
        return value


class EncodeSpec(Settings):
    """Encoding of images. Masks are always lossless PNG, mode L."""

    identity_fields = IdentityFields(
        ("image", "png_level", "jpeg_quality", "confidence"), later={"alpha": False}
    )

    image: Literal["png", "webp", "jpeg"] = "png"
    """File format; `webp` is lossless."""
    png_level: int = Field(1, ge=0, le=9)
    """Compression level of PNG. Level 1 uses our own fast encoder, all others Pillow's; level 6 takes
    about ten times as long as level 1 and saves a fifth of the bytes."""
    jpeg_quality: int = Field(95, ge=1, le=100)
    """JPEG quality. Only for `image: jpeg`."""
    confidence: bool = False
    """Also write `KEY.confidence.png` (mode L): the mask's confidence at each pixel, times 255. For a
    linear head it is m / (m + s): m = margin between the best two classes, s = its median."""
    alpha: bool = False
    """Also write `KEY.alpha.png` (mode L): the foreground's share of each pixel, times 255. Only for
    methods with soft edges."""


class DatasetSpec(Settings):
    """What is made. Equal `dataset` sections give equal bytes on equal hardware and libraries."""

    identity_fields = IdentityFields(
        (
            *("samples_per_shard", "oversample", "batch_size"),
            *("generator", "latents", "segmenter", "accept", "encode"),
        ),
        later={"sampling": None, "edit": None, "compose": None, "agreement": None, "splits": None},
        left_out=("num_samples", "coverage"),
    )

    num_samples: int = Field(ge=1, le=10**9)
    """Number of image/mask pairs. Raise it and run again to grow the dataset."""
    samples_per_shard: int = Field(1000, ge=1, le=10**6)
    """Pairs per tar file. Choose it so that there are at least as many shards as loader workers in
    training."""
    oversample: float = Field(1.0, ge=1, le=100)
    """Sample indices that a shard owns per sample it keeps; more than 1 leaves spare ones for rejected
    samples."""
    batch_size: int = Field(8, ge=1, le=1024)
    """Samples per forward pass. It is here, not in `run`, because it changes floating-point sums."""
    generator: GeneratorSpec
    """The image generator."""
    latents: LatentsSpec = LatentsSpec()
    """How latents are drawn."""
    sampling: LayoutSpec | None = None
    """Layouts that the masks should have, for which latents are searched. Empty = latents are used as
    they are drawn."""
    edit: EditSpec | None = None
    """Edits of the samples, which are stored as pairs: `KEY.image.png` and `KEY.mask.png` before,
    `KEY.edited.png` and `KEY.edited_mask.png` after. Empty = none."""
    segmenter: SegmenterSpec
    """The method that makes the masks."""
    agreement: AgreementSpec | None = None
    """Other methods that masks are compared with: the agreement stands in the facts. Empty = none."""
    compose: ComposeSpec | None = None
    """Composites: objects on other backgrounds, as an augmentation. Empty = images stay as they are."""
    accept: AcceptSpec = AcceptSpec()
    """Rules by which samples are accepted."""
    coverage: CoverageSpec | None = None
    """Coverage targets. They can be changed at any time, as `num_samples` can be raised."""
    splits: SplitsSpec | None = None
    """Splits, e.g. `{train: 0.9, val: 0.05, test: 0.05}`. Empty = all samples are in `train`."""
    encode: EncodeSpec = EncodeSpec()
    """Encoding of images."""

    @property
    def is_chained(self) -> bool:
        """Whether each sample lies on another one."""
        return self.compose is not None and self.compose.background == "other_sample"

    @property
    def samples_per_batch(self) -> int:
        """Samples that a batch gives: where each lies on the next one, the last has none to lie on."""
        return self.batch_size - 1 if self.is_chained else self.batch_size

    @model_validator(mode="after")
    def _can_be_edited(self) -> "DatasetSpec":
        if self.edit is not None:
            others = ("sampling", "compose", "agreement")
            self.edit.check_beside(
                others=[name for name in others if getattr(self, name) is not None],
                has_instances=getattr(self.segmenter, "instances", None) is not None,
                has_targets=self.coverage is not None,
                oversample=self.oversample,
            )
        return self

    @model_validator(mode="after")
    def _can_be_searched(self) -> "DatasetSpec":
        if self.sampling is None:
            return self
        if self.latents.draw == "nvidia_seed":
            raise ValueError(
                "`latents.draw` is 'nvidia_seed', which gives each sample one latent, and `sampling` "
                "needs many; use 'counter'"
            )
        if getattr(self.segmenter, "instances", None) is not None:
            raise ValueError(
                "`sampling` is about classes of pixels, and `segmenter.instances` separates objects; "
                "leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _can_be_compared(self) -> "DatasetSpec":
        if self.agreement is None and self.accept.min_agreement:
            raise ValueError(
                "`accept.min_agreement` needs `agreement`: other methods to compare with"
            )
        if self.agreement is not None and getattr(self.segmenter, "instances", None) is not None:
            raise ValueError(
                "`agreement` compares masks, and `segmenter.instances` separates objects; leave one of "
                "them out"
            )
        return self

    @model_validator(mode="after")
    def _can_be_composed(self) -> "DatasetSpec":
        if self.compose is None:
            return self
        if self.sampling is not None:
            raise ValueError(
                "`sampling` searches images with wanted masks, and `compose` covers them; leave one of "
                "them out"
            )
        if getattr(self.segmenter, "instances", None) is not None:
            raise ValueError(
                "`compose` joins masks of classes, and `segmenter.instances` separates objects; leave "
                "one of them out"
            )
        if self.compose.background == "other_sample" and self.batch_size == 1:
            raise ValueError(
                "`compose.background: other_sample` puts each sample of a batch on the next one, and "
                "`batch_size` is 1; use 2 or more"
            )
        return self


class _RaisesJobErrors(type(Settings)):  # type: ignore[misc] # pydantic's metaclass
    """A call of the class has the errors of `from_dict`; pydantic does not call it for sections."""

    def __call__(cls, **values: object) -> Any:  # noqa: ANN401 - mypy then takes the class itself
        return check_settings(cls, values, source="job")


class JobSpec(Settings, metaclass=_RaisesJobErrors):
    """One job: what is made, how, and where."""

    name: DatasetName
    """Name of the dataset, and prefix of its shards' names: lower case, digits, `_` and `-`; no dots,
    because readers split file names at the first dot."""
    dataset: DatasetSpec
    """What is made."""
    run: RunSpec = RunSpec()
    """How it is made."""
    output: OutputSpec
    """Where it is written."""
    beside: InputPath | None = None
    """Folder of a dataset, relative to the job's file. If it was made with the same settings, its
    segmenter is used instead of a new fit, and so are its layouts and backgrounds. The job that is
    stored in a dataset names its own folder. Empty = no dataset's."""

    @classmethod
    @check_arguments
    def from_dict(cls, document: Mapping[str, Any]) -> "JobSpec":
        """Validate a job given as plain values, as in a job file; files that it names are read.

        Raises:
            JobError: If it is no mapping, or breaks a rule; the message holds one line per problem.
        """
        values = copy_values(document, source="job")
        inline_files(values)
        return check_settings(cls, values, source="job")
