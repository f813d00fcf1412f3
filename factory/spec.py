"""The job file: YAML to `JobSpec`, with all its problems reported at once.

`dataset` says what is made, `run` how, `output` where. Nothing in `run` or `output` changes a byte.
The sentence under each field is its documentation, its schema description and its help.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

AREA_EDGES = (
    0, 1, 2, 5, 10, 20, 30, 40, 50, 75, 100, 125, 150, 200, 250, 300, 350, 400, 500, 600, 700, 800,
    900,
)  # fmt: skip
"""Where the bins of a class's share of its mask begin, in thousandths."""


class Settings(BaseModel):
    """A frozen part of the job file that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class GeneratorSpec(Settings):
    """Which pretrained image generator, and how it is run."""

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


class LatentsSpec(Settings):
    """Where the samples lie in the generator's latent space."""

    seed: int = Field(0, ge=0, lt=2**63)
    """Sample i is a pure function of (seed, i)."""
    draw: Literal["counter", "nvidia_seed"] = "counter"
    """How sample i gets its latent: `counter` from a counter-based generator keyed by (seed, i);
    `nvidia_seed` as NVIDIA's tools do for seed number `seed + i`, so that the images are theirs."""
    truncation_psi: float = Field(1.0, ge=0, le=2)
    """Pull latents towards the mean latent: 1 = none, 0.5 = less variety and fewer broken images."""
    truncation_cutoff: int | None = Field(None, ge=0)
    """Truncate only the style rows below this one. Empty = all rows."""
    classes: list[int | str] | dict[int | str, Weight] | None = None
    """Classes of a class-conditional generator, by name or number: a list is visited in turn, a
    mapping to weights is drawn at random. Empty = all classes in turn."""

    @field_validator("classes")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if value is not None and not value:
            raise ValueError("names no class; leave it out to use all classes")
        return value


class FitSpec(Settings):
    """What a segmenter without labels is fitted on: pixels streamed from the generator itself."""

    num_images: int = Field(128, ge=2)
    """Images to sample pixels from."""
    pixels_per_image: int = Field(512, ge=1)
    """Pixels taken from each, at random places."""
    seed: int = Field(0, ge=0, lt=2**62)
    """Seed of the fitting images (never those of the dataset), the pixels and the clustering."""


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
    initial_clusters: int = Field(100, ge=2, le=255)
    """Clusters of the k-means stage."""
    num_classes: int = Field(26, ge=2, le=255)
    """Where the merge tree is cut."""
    layers: Literal["auto"] | list[str] = "auto"
    """Feature maps to use, as for `kmeans`."""
    fit: FitSpec = FitSpec(num_images=256, pixels_per_image=4096)
    """What it is fitted on."""


class PluginSegmenterSpec(Settings):
    """A segmenter from outside this package."""

    kind: str = Field(pattern=r"^[\w.]+:[\w.]+$|^[\w-]+$")
    """`module:attribute`, or the name of an entry point in group `factory.segmenters`."""
    settings: dict[str, Any] = {}
    """Handed to the plugin as it is."""


_BUILT_IN = ("kmeans", "klish")


def _segmenter_tag(value: object) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if kind in _BUILT_IN else "plugin"


SegmenterSpec = Annotated[
    Annotated[KMeansSpec, Tag("kmeans")]
    | Annotated[KlishSpec, Tag("klish")]
    | Annotated[PluginSegmenterSpec, Tag("plugin")],
    Discriminator(_segmenter_tag),
]


class AcceptSpec(Settings):
    """Which samples are kept.

    A rejected one is counted with its reason, and replaced from the indices its shard owns.
    """

    min_confidence: Fraction = 0.0
    """Drop samples whose mean mask confidence is lower."""
    class_share: dict[int, tuple[Fraction, Fraction]] = {}
    """Allowed share of the mask's pixels by class id, e.g. `{3: [0.05, 0.6]}`."""

    @field_validator("class_share")
    @classmethod
    def _in_order(cls, value: dict[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
        if any(least > most for least, most in value.values()):
            raise ValueError("the least share comes first and is not above the most")
        return value


class AreaTarget(Settings):
    """A number of samples in which a class is large enough."""

    count: int = Field(ge=1, le=10**9)
    """Samples to have."""
    min_area: Fraction = 0.0
    """Least share of the mask's pixels. Receipts count areas at these steps: 0, 0.001, 0.002, 0.005,
    0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7,
    0.8 and 0.9."""

    @field_validator("min_area")
    @classmethod
    def _is_counted(cls, value: float) -> float:
        if value not in [edge / 1000 for edge in AREA_EDGES]:
            steps = ", ".join(f"{edge / 1000:g}" for edge in AREA_EDGES)
            raise ValueError(f"receipts count areas at {steps}; choose one of them")
        return value


class CoverageSpec(Settings):
    """What the dataset must cover. Rounds are added to `num_samples` until it does."""

    min_samples: dict[int | str, Annotated[int, Field(ge=1, le=10**9)] | AreaTarget] = {}
    """Samples to have of a class: of the generator by name, of the masks by name or number; e.g.
    `{lymphocyte: 500, nucleus: {count: 300, min_area: 0.2}}`."""
    balance: Fraction | None = None
    """Every class of the generator gets at least this share of the samples of its most frequent one;
    1 = all alike."""
    budget: int = Field(ge=1, le=10**9)
    """Most images to generate for these targets, kept or not, beyond those of `num_samples`."""


class EncodeSpec(Settings):
    """How images become files. Masks are always lossless PNG, mode L."""

    image: Literal["png", "webp", "jpeg"] = "png"
    """File format; `webp` is lossless."""
    png_level: int = Field(1, ge=0, le=9)
    """Level 1 is our own quick writer, the others are Pillow's; level 6 costs about ten times the
    time of level 1 for a fifth less bytes."""
    jpeg_quality: int = Field(95, ge=1, le=100)
    """Only for `jpeg`."""


class DatasetSpec(Settings):
    """What is made. Equal sections give equal bytes on equal hardware and libraries."""

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


class JobSpec(Settings):
    """One job: what is made, how, and where."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    """Name of the dataset and of its shards: lower case, digits, `_` and `-`; no dots, because
    readers split names at the first dot."""
    dataset: DatasetSpec
    """What is made."""
    run: RunSpec = RunSpec()
    """How."""
    output: OutputSpec
    """Where."""
