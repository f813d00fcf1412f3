"""The settings of a job, from the whole to its sections; those of methods have files of their own.

`dataset` is what is made, `run` how, `output` where. Nothing in `run` or `output` changes a byte.
The sentence under each field is its documentation, its schema description and its help.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from factory.spec.check import check_settings
from factory.spec.coverage import CoverageSpec
from factory.spec.generators import check_family_settings
from factory.spec.inline import inline_files
from factory.spec.segmenters import SegmenterSpec
from factory.spec.settings import (
    ClassKey,
    ClassKeys,
    DatasetName,
    Fraction,
    IdentityFields,
    Settings,
    Sha256,
    Weight,
)


class GeneratorSpec(Settings):
    """Which pretrained image generator, and how it is run."""

    identity_fields = IdentityFields(
        ("kind", "precision", "noise"), later={"settings": {}}, left_out=("weights", "sha256")
    )

    kind: str
    """Generator family, e.g. `stylegan2`; `factory generators` lists them. Or `module:attribute`."""
    weights: str = ""
    """Weights: a file, `shipped:blood_cells`, or `https://...` with `sha256`. Paths are relative to
    the folder the command runs in."""
    sha256: Sha256 | None = None
    """Refuse weights whose SHA-256 differs. Required for downloads."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the synthesis network. The mapping network and the image sum stay float32."""
    noise: Literal["const", "none", "per_sample"] = "const"
    """Noise inputs: the checkpoint's own maps, none, or fresh maps drawn from each sample's seed."""
    settings: dict[str, Any] = Field({})
    """What the weights file leaves unsaid of its network, such as `classes: 8` of a `dcgan`;
    `factory inspect` says what was assumed. Each family has its own (`factory/spec/generators.py`); a
    generator from outside is given them as they are."""

    @field_validator("settings")
    @classmethod
    def _of_its_family(cls, value: dict[str, Any], info: Any) -> dict[str, Any]:  # noqa: ANN401 - its type can't be checked
        return check_family_settings(info.data.get("kind", ""), value)


class LatentsSpec(Settings):
    """Where the samples lie in the generator's latent space."""

    identity_fields = IdentityFields(
        ("seed", "draw", "truncation_psi", "truncation_cutoff", "classes")
    )

    seed: int = Field(0, ge=0, lt=2**63)
    """Sample i is a pure function of (seed, i)."""
    draw: Literal["counter", "nvidia_seed"] = "counter"
    """How sample i gets its latent: `counter` from a counter-based generator keyed by (seed, i);
    `nvidia_seed` as NVIDIA's tools do for seed number `seed + i`, so that the images are theirs."""
    truncation_psi: float = Field(1.0, ge=0, le=2)
    """Pull latents towards the mean latent: 1 = none, 0.5 = less variety and fewer broken images."""
    truncation_cutoff: int | None = Field(None, ge=0)
    """Truncate only the style rows below this one. Empty = all rows."""
    classes: Annotated[list[int | str] | dict[int | str, Weight] | None, ClassKeys] = None
    """Classes of a class-conditional generator, by name or number: a list is visited in turn, a
    mapping to weights is drawn at random. Empty = all classes in turn."""

    @field_validator("classes")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if value is not None and not value:
            raise ValueError("names no class; leave it out to use all classes")
        return value


class AcceptSpec(Settings):
    """Which samples are kept.

    A rejected one is counted with its reason, and replaced from the indices its shard owns.
    """

    identity_fields = IdentityFields(("min_confidence", "class_share"))

    min_confidence: Fraction = 0.0
    """Drop samples whose mean mask confidence is lower."""
    class_share: Annotated[dict[ClassKey, tuple[Fraction, Fraction]], ClassKeys] = Field({})
    """Allowed share of the mask's pixels by class, e.g. `{nucleus: [0.05, 0.6]}`; a class is given by
    its name or its mask value."""

    @field_validator("class_share")
    @classmethod
    def _in_order(
        cls, value: dict[ClassKey, tuple[float, float]]
    ) -> dict[ClassKey, tuple[float, float]]:
        if any(least > most for least, most in value.values()):
            raise ValueError("the least share comes first and is not above the most")
        return value


class EncodeSpec(Settings):
    """How images become files. Masks are always lossless PNG, mode L."""

    identity_fields = IdentityFields(("image", "png_level", "jpeg_quality", "confidence"))

    image: Literal["png", "webp", "jpeg"] = "png"
    """File format; `webp` is lossless."""
    png_level: int = Field(1, ge=0, le=9)
    """Level 1 is our own quick writer, the others are Pillow's; level 6 costs about ten times the
    time of level 1 for a fifth less bytes."""
    jpeg_quality: int = Field(95, ge=1, le=100)
    """Only for `jpeg`."""
    confidence: bool = False
    """Also write `KEY.confidence.png` (mode L): each pixel's confidence in the mask, times 255. Of a
    linear head it is m / (m + s): m = lead of the best class over the second, s = its median."""


class DatasetSpec(Settings):
    """What is made. Equal sections give equal bytes on equal hardware and libraries."""

    identity_fields = IdentityFields(
        (
            *("samples_per_shard", "oversample", "batch_size"),
            *("generator", "latents", "segmenter", "accept", "encode"),
        ),
        left_out=("num_samples", "coverage"),
    )

    num_samples: int = Field(ge=1, le=10**9)
    """Image/mask pairs to make. Raise it and run again to grow the dataset."""
    samples_per_shard: int = Field(1000, ge=1)
    """Pairs per tar file. Have at least as many shards as your training has loader workers."""
    oversample: float = Field(1.0, ge=1, le=100)
    """Indices a shard owns for each sample it keeps; more than 1 makes room for rejected samples."""
    batch_size: int = Field(8, ge=1, le=1024)
    """Samples per forward pass. It is here, not in `run`, because it changes floating-point sums."""
    generator: GeneratorSpec
    """The image generator."""
    latents: LatentsSpec = LatentsSpec()
    """Where the samples lie in its latent space."""
    segmenter: SegmenterSpec
    """What makes the masks."""
    accept: AcceptSpec = AcceptSpec()
    """Which samples are kept."""
    coverage: CoverageSpec | None = None
    """What the dataset must cover; it can be changed at any time, as `num_samples` can be raised."""
    encode: EncodeSpec = EncodeSpec()
    """How images become files."""


class RunSpec(Settings):
    """How it is made. Nothing here changes a byte."""

    executor: Literal["ray", "inline"] = "ray"
    """`ray` fans actors over this machine or a cluster; `inline` works in this process."""
    address: str | None = None
    """Ray cluster to join, e.g. `auto` or `ray://head:10001`. Empty = a local one for this run."""
    num_actors: int | Literal["auto"] = "auto"
    """Workers. `auto` = as many as the cluster's CPUs (or GPUs) hold."""
    threads_per_actor: int = Field(1, ge=1, le=256)
    """Batches a worker computes side by side on the CPU, each on one thread: the number of threads
    never changes a sum."""
    gpus_per_actor: float = Field(0, ge=0, le=1)
    """GPU share of a worker; above 0 it computes on the GPU."""
    encode_threads: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = "auto"
    """Threads of a worker that encode images while the next batch is computed; 0 = whoever computed
    a batch encodes it. `auto` = 4 beside a GPU, 0 where workers fill the CPU anyway."""
    shards_per_actor: int = Field(500, ge=1)
    """Shards after which a worker is replaced by a fresh one, in case something in it leaks.
    Only for `ray`."""
    shard_deadline_s: float = Field(3600, gt=0)
    """A worker that finishes no shard for this long hangs: it is killed and the shard tried again.
    Only for `ray`."""

    serve_port: int | None = Field(None, ge=0, le=65535)
    """Port on this machine's loopback address where a live page shows the run; 0 = any free one.
    Empty = none. Only with `executor: ray`; `factory serve` shows a dataset at any time."""

    @field_validator("num_actors")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be `auto` or at least 1")
        return value


class OutputSpec(Settings):
    """Where it goes. Nothing here changes a byte."""

    uri: str = Field(min_length=1)
    """Folder or `s3://bucket/prefix` for the dataset; one folder holds one dataset."""
    single_writer: bool = False
    """A promise that one run at a time writes there. Only then may the store be one that does not
    create files exclusively; `factory doctor` tells. A lease keeps a second run out."""


class JobSpec(Settings):
    """One job: what is made, how, and where."""

    name: DatasetName
    """Name of the dataset and of its shards: lower case, digits, `_` and `-`; no dots, because
    readers split names at the first dot."""
    dataset: DatasetSpec
    """What is made."""
    run: RunSpec = RunSpec()
    """How."""
    output: OutputSpec
    """Where."""

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "JobSpec":
        """Check a job given as plain values, as a job file holds them; files it names are read.

        Raises:
            JobError: If it breaks a rule; the message holds one line per problem.
        """
        values = deepcopy(dict(document))
        inline_files(values)
        return check_settings(cls, values, source="job")
