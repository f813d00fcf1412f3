"""Response types of the service; the OpenAPI document is generated from them."""

from typing import Literal

from factory.manifest.labels import Facts
from factory.manifest.measure import Measures
from factory.pack.facts import SampleFacts

ShardState = Literal["planned", "leased", "committed", "quarantined"]
QualityName = Literal["confidence", "agreement", "sharpness", "border"]
Pick = Literal["latest", "least_confident", "class"]


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
    is_edited: bool
    """Whether it has an edited image beside its own: its picture then shows both."""


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
    is_edited: bool
    """Whether it has an edited image and mask beside its own."""
    replay: str
    """The command that regenerates this sample and compares its bytes."""


class Datasets(Facts):
    """A page of the datasets in a folder."""

    total: int
    """Number of datasets."""
    names: list[str]
    """Names of their folders, sorted; each is served below `/d/NAME/`, such as `/d/NAME/v1/summary`."""
