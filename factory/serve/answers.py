"""Response types of the service; the OpenAPI document is generated from them."""

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from factory.manifest.labels import Facts
from factory.manifest.measure import Measures
from factory.pack.facts import SampleFacts

ShardState = Literal["planned", "leased", "committed", "quarantined"]
QualityName = Literal["confidence", "agreement", "sharpness", "border"]
Pick = Literal["latest", "least_confident", "class"]
Order = Literal["ascending", "descending"]
PaceOf = Literal["latest_run", "all_runs"]


class Failure(Facts):
    """An error response."""

    error: str
    """What was found, what is allowed, and the remedy."""


class TargetAnswer(Facts):
    """Progress of a coverage target."""

    name: str
    wanted: int
    have: int
    state: Literal["met", "open", "out of reach"]
    why: str
    """The reason if it is out of reach, else empty."""


class Summary(Facts):
    """Summary of the dataset."""

    name: str
    uri: str
    dataset_id: str
    version: int
    """Increases with every change since the start of the service."""
    state: Literal["complete", "incomplete", "running"]
    rounds: int
    shards: dict[ShardState, int]
    """Shards in each state."""
    samples_planned: int
    samples_committed: int
    images_rejected: dict[str, int]
    """Rejected images by reason."""
    bytes: int
    last_commit: str
    """UTC, ISO 8601; `never` before the first."""
    pairs_per_s: float
    """Over the latest commits; 0 when nothing was committed for a minute."""
    eta_s: float
    """Estimated seconds until all planned samples are committed; -1 = unknown."""
    attribution: str
    license: str
    makers: dict[str, int]
    """Shards by what decided their bytes: device, kernels, versions, encoder."""


class MaskClass(Facts):
    """Statistics of one mask class."""

    id: int
    name: str
    colour: str
    """In CSS notation, e.g. `#ff8800`."""
    images: int
    """Samples that contain it."""
    pixels: int
    share: float
    """Share of all pixels, 0 to 1."""
    area: list[int]
    """Samples by share of the mask; bins begin at `area_edges`."""


class GeneratorClass(Facts):
    """Statistics of one class of the generator."""

    id: int
    name: str
    made: int
    """Generated images, accepted or rejected."""
    kept: int


class Distribution(Facts):
    """Distribution of a quality measure over the samples."""

    name: QualityName
    quantiles: list[float]
    """At 0.05, 0.25, 0.5, 0.75 and 0.95, from a histogram, so off by a bin at most."""
    edges: list[float]
    """Lower edges of the bins."""
    counts: list[int]
    """Samples in each bin."""


class LatentCoverage(Facts):
    """Evenness of samples over the latent space, and similarity of images."""

    cell_evenness: float
    """Over 256 cells of equal probability: 1 = as even as independent draws."""
    class_evenness: float
    """Over the generator's classes; 0 for an unconditional generator."""
    cells_visited: int
    duplicate_rate: float
    """Share of samples with the same perceptual hash as an earlier one, estimated from a sketch."""
    close_pair_rate: float
    """Share of pairs of hashes that differ in at most 4 of 64 bits, estimated from a sketch."""


class CoverageAnswer(Facts):
    """Coverage statistics of the samples."""

    samples: int
    samples_unknown: int
    """Samples of shards made before coverage was recorded; they are not counted below."""
    mask_classes: list[MaskClass]
    generator_classes: list[GeneratorClass]
    area_edges: list[float]
    curves: list[Distribution]
    latent: LatentCoverage
    targets: list[TargetAnswer]
    budget: int
    """Images allowed for the targets; 0 without targets."""
    budget_left: int


class ShardRun(Facts):
    """Consecutive shards in the same state."""

    first_shard: int
    end_shard: int
    """One past the last."""
    first_index: int
    end_index: int
    """One past the last sample index."""
    state: ShardState


class RoundAnswer(Facts):
    """A round of the plan with the states of its index ranges."""

    round_index: int
    num_samples: int
    goal: str
    """The coverage target it serves; empty for a round of `num_samples`."""
    runs: list[ShardRun]


class Rounds(Facts):
    """All rounds."""

    rounds: list[RoundAnswer]


class ShardAnswer(Facts):
    """One shard."""

    shard_index: int
    round_index: int
    state: ShardState
    path: str
    first_index: int
    num_indices: int
    num_samples: int
    """Actual number if committed, else the planned one."""
    size_bytes: int
    sha256: str
    worker: str
    device: str
    finished_at: str


class Shards(Facts):
    """A page of shards."""

    total: int
    """Number of matching shards."""
    shards: list[ShardAnswer]


class Tile(Facts):
    """A sample in the gallery."""

    key: str
    confidence: float
    class_name: str


class Gallery(Facts):
    """Samples for the gallery."""

    pick: Pick
    tiles: list[Tile]


class FoundSamples(Facts):
    """A page of samples that match."""

    tiles: list[Tile]
    """At most `limit`; fewer, or none, if enough tables were read before the page was full."""
    next_key: str
    """`from_key` of the next page; empty at the end of the dataset."""
    samples_searched: int
    """Samples of the shards that were searched to the end, or could have no match by their receipts."""
    shards_unreadable: int
    """Shards passed over because their table is missing or damaged; `factory repair` rebuilds it."""


class PaceInterval(Facts):
    """What was made in an interval; a shard counts evenly for the time in which it was made."""

    starts_at: str
    """UTC, ISO 8601."""
    seconds: float
    """Its length; the first and the last one are cut where the making began and ended."""
    samples: float
    """Committed samples."""
    rejected: float
    """Generated images that were not kept."""
    worker_s: float
    """Seconds that workers spent on shards."""
    generate_s: float
    """Seconds of these in the generator and the segmenter; the rest is packing and writing."""
    by_worker: list[float]
    """Samples of each of `workers`."""


class WorkerPace(Facts):
    """What a worker made."""

    worker: str
    """Host and process; `N others` for all those that made fewer samples."""
    device: str
    shards: int
    samples: int
    pairs_per_s: float
    """Samples per second of its own time; 0 if that is unknown."""
    last_commit: str
    """UTC, ISO 8601."""


class PaceAnswer(Facts):
    """How the making went over time."""

    of: PaceOf
    interval_s: int
    """Length of an interval; chosen so that there are at most 96."""
    started_at: str
    """UTC, ISO 8601; `never` without a shard."""
    ended_at: str
    """UTC, ISO 8601; `never` without a shard."""
    intervals: list[PaceInterval]
    """In order of time; those in which nothing was made are left out."""
    workers: list[WorkerPace]
    """At most 16; those that made most come first."""


class JobAnswer(Facts):
    """The job that the dataset was started with."""

    text: str
    """`job.yaml` as it is stored, without credentials; empty if there is none."""
    is_cut: bool
    """Whether the file is longer than what is shown."""


class AttemptAnswer(Facts):
    """A failed attempt at a shard, or the shard's entry in quarantine."""

    shard_index: int
    state: ShardState
    """State of the shard now: one that failed may have been committed later."""
    is_quarantine: bool
    """Whether this is the entry that keeps the shard from being tried again."""
    attempt: int
    """Number of the attempt, from 1; 0 = the file cannot be read."""
    reason: str
    """The error, in one line."""
    run_id: str
    failed_at: str
    """UTC, ISO 8601."""


class Failures(Facts):
    """A page of failures: quarantine first, then attempts, in the order of shards."""

    total: int
    """Number of entries."""
    failures: list[AttemptAnswer]


class SampleAnswer(SampleFacts, Measures):
    """A sample with all its facts: those of its `KEY.json`, what was measured, and its location."""

    class_px: dict[str, int]  # type: ignore[assignment] # by name here, by id in the file
    """Pixels by class name."""
    shard: str
    """The tar that holds it, relative to the dataset's root."""
    sha256: str
    """SHA-256 of its shard."""
    round_index: int
    """The round of the plan that it belongs to."""
    goal: str
    """The coverage target that its round serves; empty for plain growth."""
    replay: str
    """The command that regenerates this sample and compares its bytes."""


class ShardsQuery(BaseModel):
    """Selection of shards."""

    state: ShardState | None = None
    offset: int = Field(0, ge=0, le=10**6)
    limit: int = Field(100, ge=1, le=1000)


class GalleryQuery(BaseModel):
    """Selection of samples."""

    pick: Pick = "latest"
    mask_class: int = Field(0, ge=0, le=254)
    """For `pick=class`: samples in which this class has the largest share."""
    limit: int = Field(12, ge=1, le=48)


class SearchQuery(BaseModel):
    """What samples must have to be found, and where to begin."""

    order: Order = "ascending"
    """By key."""
    from_key: str | None = Field(None, pattern=r"^[0-9]{9}$")
    """Where to begin; the sample of this key is included."""
    mask_class: int | None = Field(None, ge=0, le=254)
    """They contain this mask class."""
    min_area: float = Field(0, ge=0, le=1, allow_inf_nan=False)
    """Least share of `mask_class` in the mask."""
    max_area: float = Field(1, ge=0, le=1, allow_inf_nan=False)
    """Largest share of `mask_class` in the mask."""
    generator_class: int | None = Field(None, ge=-1, lt=2**31)
    """They are of this class of the generator; -1 = of none."""
    min_confidence: float = Field(0, ge=0, le=1, allow_inf_nan=False)
    max_confidence: float = Field(1, ge=0, le=1, allow_inf_nan=False)
    limit: int = Field(24, ge=1, le=48)

    @field_validator("min_area", "max_area")
    @classmethod
    def _is_of_a_class(cls, value: float, info: Any) -> float:  # noqa: ANN401 - a `ValidationInfo`
        if info.data.get("mask_class") is None:
            raise ValueError("needs mask_class, the class whose share of the mask it is")
        return value

    @field_validator("max_area", "max_confidence")
    @classmethod
    def _is_not_below(cls, value: float, info: Any) -> float:  # noqa: ANN401 - a `ValidationInfo`
        least = f"min_{str(info.field_name).removeprefix('max_')}"
        if value < info.data.get(least, 0):
            raise ValueError(f"must not be below {least}")
        return value


class PaceQuery(BaseModel):
    """Which shards count."""

    of: PaceOf = "latest_run"
    """Those of the run that committed last, or all."""


class FailuresQuery(BaseModel):
    """Selection of failures."""

    offset: int = Field(0, ge=0, le=10**6)
    limit: int = Field(50, ge=1, le=200)
