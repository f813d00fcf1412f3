"""What the service answers, as types: the OpenAPI document is generated from them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ShardState = Literal["planned", "leased", "committed", "quarantined"]
CurveName = Literal["confidence", "sharpness", "border"]
Pick = Literal["latest", "least_confident", "class"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Failure(_Answer):
    """Why there is no other answer."""

    error: str
    """What was found, what is allowed, what to do."""


class TargetAnswer(_Answer):
    """How far a coverage target has come."""

    name: str
    wanted: int
    have: int
    state: Literal["met", "open", "out of reach"]
    why: str
    """Why it cannot be met; empty unless it is out of reach."""


class Summary(_Answer):
    """The dataset in a few numbers."""

    name: str
    uri: str
    dataset_id: str
    version: int
    """Grows whenever something changed since the service began."""
    state: Literal["complete", "incomplete", "running"]
    rounds: int
    shards: dict[ShardState, int]
    """Shards in each state."""
    samples_planned: int
    samples_committed: int
    images_rejected: dict[str, int]
    """Images that were made and not kept, by reason."""
    bytes: int
    last_commit: str
    """UTC, ISO 8601; `never` before the first."""
    pairs_per_s: float
    """Over the latest commits; 0 when nothing was committed for a minute."""
    eta_s: float
    """Seconds until all planned samples are there; -1 = unknown."""
    attribution: str
    license: str


class MaskClass(_Answer):
    """What is there of one class of the masks."""

    id: int
    name: str
    colour: str
    """As CSS writes it, e.g. `#ff8800`."""
    images: int
    """Samples that hold it."""
    pixels: int
    share: float
    """Of all pixels, 0 to 1."""
    area: list[int]
    """Samples by share of the mask; bins begin at `area_edges`."""


class GeneratorClass(_Answer):
    """What is there of one class of the generator."""

    id: int
    name: str
    made: int
    """Images that were generated, kept or not."""
    kept: int


class Curve(_Answer):
    """How a quality is distributed over the samples."""

    name: CurveName
    quantiles: list[float]
    """At 0.05, 0.25, 0.5, 0.75 and 0.95, from a histogram, so off by a bin at most."""
    edges: list[float]
    """Where each bin begins."""
    counts: list[int]
    """Samples in each bin."""


class LatentCoverage(_Answer):
    """How evenly the latent space is visited, and how alike the images are."""

    cell_evenness: float
    """Over 256 cells of equal probability: 1 = as even as fair draws."""
    class_evenness: float
    """Over the generator's classes; 0 for a generator without."""
    cells_visited: int
    duplicate_rate: float
    """Share of samples whose perceptual hash an earlier one has, estimated from a sketch."""
    close_pair_rate: float
    """Share of pairs of hashes that differ in at most 4 of 64 bits, estimated from a sketch."""


class CoverageAnswer(_Answer):
    """What the samples cover."""

    samples: int
    samples_unknown: int
    """Samples of shards that were made before coverage was counted; they are left out below."""
    mask_classes: list[MaskClass]
    generator_classes: list[GeneratorClass]
    area_edges: list[float]
    curves: list[Curve]
    latent: LatentCoverage
    targets: list[TargetAnswer]
    budget: int
    """Images allowed for the targets; 0 without targets."""
    budget_left: int


class ShardRun(_Answer):
    """Shards of one state in a row."""

    first_shard: int
    end_shard: int
    """One past the last."""
    first_index: int
    end_index: int
    """One past the last sample index."""
    state: ShardState


class RoundAnswer(_Answer):
    """One round of the plan with the states of its index ranges."""

    round_index: int
    num_samples: int
    goal: str
    """The coverage target it serves; empty for plain growth."""
    runs: list[ShardRun]


class Rounds(_Answer):
    """All rounds."""

    rounds: list[RoundAnswer]


class ShardAnswer(_Answer):
    """One shard."""

    shard_index: int
    round_index: int
    state: ShardState
    path: str
    first_index: int
    num_indices: int
    num_samples: int
    """Kept if it is committed, asked for if not."""
    size_bytes: int
    sha256: str
    worker: str
    device: str
    finished_at: str


class Shards(_Answer):
    """A page of shards."""

    total: int
    """Shards that match."""
    shards: list[ShardAnswer]


class Tile(_Answer):
    """A sample in the gallery."""

    key: str
    confidence: float
    class_name: str


class Gallery(_Answer):
    """Samples to look at."""

    pick: Pick
    tiles: list[Tile]


class SampleAnswer(_Answer):
    """A sample with all its facts."""

    key: str
    index: int
    shard: str
    sha256: str
    """Of its shard."""
    round_index: int
    goal: str
    class_label: int
    class_name: str
    confidence: float
    width: int
    height: int
    class_px: dict[str, int]
    """Pixels by class name."""
    ignore_px: int
    sharpness: float
    """-1 = unknown, here and below."""
    border: float
    dhash: str
    latent_cell: int
    replay: str
    """The command that makes this sample again and compares its bytes."""


class ShardsQuery(BaseModel):
    """Which shards."""

    state: ShardState | None = None
    offset: int = Field(0, ge=0, le=10**6)
    limit: int = Field(100, ge=1, le=1000)


class GalleryQuery(BaseModel):
    """Which samples."""

    pick: Pick = "latest"
    mask_class: int = Field(0, ge=0, le=254)
    """For `class`: samples in which this class is largest."""
    limit: int = Field(12, ge=1, le=48)
