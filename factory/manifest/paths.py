"""The paths of all files of a dataset, relative to its root.

They are defined here only, and no path that is read from a dataset is ever opened.
"""

from pathlib import PurePosixPath

from factory.store.base import TEMPORARY

README_PATH = "README.md"
CARD_PICTURE = "preview.png"
JOB_PATH = "job.yaml"
SEGMENTER_PATH = "segmenter.safetensors"
LAYOUTS_PATH = "layouts.tar"
"""The wanted layouts of a dataset whose latents were searched for them."""
BACKGROUNDS_PATH = "backgrounds.tar"
"""The pictures that a dataset's objects were put on."""
OPINIONS_PATH = "opinions.tar"
"""The other methods that a dataset's masks were compared with."""
LABELS_PATH = "labels.json"
MANIFEST_PATH = "manifest.parquet"
LEASE_PATH = "lease.json"
ORIGINS_PATH = "origins.parquet"
"""The sample that each one is a copy of, in a dataset that is made of others."""
NEAR_TRAIN_PATH = "index/near_train.parquet"
"""The held-out samples that nearly repeat a training sample."""
TARGETS_PATH = "plan/targets.json"
"""The coverage targets of the latest run; `job.yaml` is that of the first one."""

ROUNDS = "plan"
SHARDS = "data"
SIDECARS = "meta"
RECEIPTS = "receipts"
INDICES = "index"
SNAPSHOTS = "snapshots"
ATTEMPTS = "attempts"
QUARANTINE = "quarantine"

TRAIN = "train"
"""The split of all samples, in a dataset without splits."""

SPLITS = (TRAIN, "val", "test")
"""The splits that a dataset can have."""

LEFT_BY_A_RUN = (
    *(ROUNDS, SHARDS, SIDECARS, RECEIPTS, INDICES, TEMPORARY),
    *(SNAPSHOTS, ATTEMPTS, QUARANTINE, LEASE_PATH),
)
"""Entries that an interrupted run may leave in a dataset's root before the first round is written."""


def round_path(round_index: int) -> str:
    """Path of a round of the plan."""
    return f"{ROUNDS}/round-{round_index:04d}.json"


def index_path(split: str = TRAIN) -> str:
    """Path of the index of a split's shards, which `wids` reads."""
    return f"{INDICES}/{split}.wids.json"


def tar_path(shard_name: str, split: str = TRAIN) -> str:
    """Path of a shard's tar."""
    return f"{SHARDS}/{split}/{shard_name}.tar"


def sidecar_path(shard_name: str, split: str = TRAIN) -> str:
    """Path of the table of a shard's samples."""
    return f"{SIDECARS}/{split}/{shard_name}.parquet"


def sidecar_of(tar: str) -> str:
    """Path of the table of the samples in a tar."""
    return sidecar_path(PurePosixPath(tar).stem, split_of(tar))


def split_of(tar: str) -> str:
    """The split in the path of a tar."""
    return tar.rpartition("/")[0].rpartition("/")[2]


def number_of(tar: str) -> int:
    """The number in the name of a tar: its position among the shards of its split."""
    return int(PurePosixPath(tar).stem[-6:])


def receipt_path(round_index: int, shard_index: int) -> str:
    """Path of a shard's receipt."""
    return f"{RECEIPTS}/{_position(round_index, shard_index)}.json"


def attempt_path(round_index: int, shard_index: int, attempt: int) -> str:
    """Path of the record of a failed attempt at a shard."""
    return f"{ATTEMPTS}/{_position(round_index, shard_index)}-{attempt}.json"


def step_note_path(key: str) -> str:
    """Path of the note that an attempt at a scheduled step cannot succeed."""
    return f"{ATTEMPTS}/step-{key}.json"


def quarantine_path(round_index: int, shard_index: int) -> str:
    """Path of a shard's quarantine entry."""
    return f"{QUARANTINE}/{_position(round_index, shard_index)}.json"


def snapshot_path(first_shard: int, last_shard: int) -> str:
    """Path of the snapshot with the receipts of a block of shards."""
    return f"{SNAPSHOTS}/{first_shard:06d}-{last_shard:06d}.parquet"


def shard_index_of(path: str) -> int:
    """The shard index in the path of a receipt, attempt or quarantine entry; -1 for other files."""
    digits = PurePosixPath(path).name[:6]
    return int(digits) if digits.isdigit() else -1


def _position(round_index: int, shard_index: int) -> str:
    return f"{round_index:04d}/{shard_index:06d}"
