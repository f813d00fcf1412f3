"""Where every file of a dataset lies, relative to its root: the tree of the README, as code.

Nothing else writes one of these paths down, and nothing that is read from a dataset is used as one.
"""

from pathlib import PurePosixPath

from factory.store.base import TEMPORARY

README_PATH = "README.md"
CARD_PICTURE = "preview.png"
JOB_PATH = "job.yaml"
SEGMENTER_PATH = "segmenter.safetensors"
LABELS_PATH = "labels.json"
MANIFEST_PATH = "manifest.parquet"
LEASE_PATH = "lease.json"
INDEX_PATH = "index/train.wids.json"
TARGETS_PATH = "plan/targets.json"
"""The targets of the latest run; the job file that began the dataset may not have had them."""

ROUNDS = "plan"
SHARDS = "data"
SIDECARS = "meta"
RECEIPTS = "receipts"
INDICES = "index"
SNAPSHOTS = "snapshots"
ATTEMPTS = "attempts"
QUARANTINE = "quarantine"

LEFT_BY_A_RUN = (
    *(ROUNDS, SHARDS, SIDECARS, RECEIPTS, INDICES, TEMPORARY),
    *(SNAPSHOTS, ATTEMPTS, QUARANTINE, LEASE_PATH),
)
"""What may lie in a dataset's root before the first round of its plan does."""


def round_path(round_index: int) -> str:
    """A round of the plan."""
    return f"{ROUNDS}/round-{round_index:04d}.json"


def tar_path(shard_name: str) -> str:
    """The tar of a shard."""
    return f"{SHARDS}/train/{shard_name}.tar"


def sidecar_path(shard_name: str) -> str:
    """The table of a shard's samples."""
    return f"{SIDECARS}/train/{shard_name}.parquet"


def sidecar_of(tar: str) -> str:
    """The table of the samples in a tar."""
    return sidecar_path(PurePosixPath(tar).stem)


def receipt_path(round_index: int, shard_index: int) -> str:
    """The receipt of a shard."""
    return f"{RECEIPTS}/{_position(round_index, shard_index)}.json"


def attempt_path(round_index: int, shard_index: int, attempt: int) -> str:
    """A failed attempt at a shard."""
    return f"{ATTEMPTS}/{_position(round_index, shard_index)}-{attempt}.json"


def quarantine_path(round_index: int, shard_index: int) -> str:
    """The entry of a shard in quarantine."""
    return f"{QUARANTINE}/{_position(round_index, shard_index)}.json"


def snapshot_path(first_shard: int, last_shard: int) -> str:
    """The receipts of a block of shards in one file."""
    return f"{SNAPSHOTS}/{first_shard:06d}-{last_shard:06d}.parquet"


def shard_index_of(path: str) -> int:
    """The shard that a receipt, an attempt or a quarantine entry is about; -1 for any other file."""
    digits = PurePosixPath(path).name[:6]
    return int(digits) if digits.isdigit() else -1


def _position(round_index: int, shard_index: int) -> str:
    return f"{round_index:04d}/{shard_index:06d}"
