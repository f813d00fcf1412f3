"""A store with a dataset of any number of shards, all committed, in memory for one block of them.

Listings are computed from the plan and snapshots are encoded as they are read. Receipts are as long
as those of shards with 250 samples, so that what is held of them counts. What is written is counted
and forgotten, except for the views if asked for.
"""

import hashlib
import io
import random
import re
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from receipts import LABELS, a_record

from factory.dataset import receipts
from factory.manifest.coverage import Coverage
from factory.manifest.labels import encode_labels
from factory.manifest.parquet import encode_table
from factory.manifest.paths import LABELS_PATH, receipt_path, round_path, tar_path
from factory.manifest.records import encode_record
from factory.manifest.table import records_of, table_of
from factory.pack.facts import SampleFacts, encode_facts
from factory.pack.image import encode_image, encode_mask
from factory.pack.tar import ShardWriter
from factory.plan.rounds import Plan, Round, encode_round
from factory.spec import EncodeSpec
from factory.store import LocalStore
from factory.store.base import StoredFile

PAIRS = 4
_IDENTITY = {
    "generator": {"kind": "shapes", "weights_sha256": ""},
    "segmenter": {"kind": "kmeans", "sha256": "cd" * 32},
    "encode": {"image": "png"},
}


def plan_of(num_shards):
    round_ = Round(
        dataset_id="0123456789abcdef", name="large", round_index=0, first_shard=0, first_index=0,
        num_samples=PAIRS * num_shards, samples_per_shard=PAIRS, oversample=1.0, identity=_IDENTITY,
    )  # fmt: skip
    return Plan(round_.dataset_id, (round_,))


def _coverage(rng):
    return Coverage(
        made={-1: 250},
        kept={-1: 250},
        area={-1: [[rng.randrange(40) for _ in range(24)] for _ in range(2)]},
        confidence=[rng.randrange(20) for _ in range(50)],
        sharpness=[rng.randrange(20) for _ in range(40)],
        border=[rng.randrange(20) for _ in range(50)],
        cells=[rng.randrange(4) for _ in range(256)],
        hashes=[(f"{rng.getrandbits(64):016x}", 1) for _ in range(128)],
    )


class LargeStore(LocalStore):
    """The store; `lost` are numbers of blocks without a snapshot."""

    def __init__(self, num_shards, *, lost=(), kept=False):
        super().__init__("/nowhere/large")
        self.num_shards = num_shards
        self.plan = plan_of(num_shards)
        self.lost = set(lost)
        self.snapshots = set(range(num_shards // receipts.BLOCK)) - self.lost
        self.written = {}
        self.views = {} if kept else None

    @cached_property
    def _template(self):
        """A block of receipts, of which coverages differ."""
        rng = random.Random(0)
        tar = len(self._tar(0))
        records = [
            a_record(
                index, num_samples=PAIRS, num_indices=PAIRS, num_members=3 * PAIRS, size_bytes=tar,
                num_rejected={}, coverage=_coverage(rng),
            )
            for index in range(receipts.BLOCK)
        ]  # fmt: skip
        return table_of(records)

    def table(self, first, count):
        """The receipts of some shards of a block, as a table."""
        tasks = [self.plan.rounds[0].task(index) for index in range(first, first + count)]
        changed = {
            "shard_index": [task.shard_index for task in tasks],
            "path": [tar_path(task.name) for task in tasks],
            "first_index": [task.first_index for task in tasks],
            "sha256": [hashlib.sha256(task.name.encode()).hexdigest() for task in tasks],
        }
        table = self._template.slice(first % receipts.BLOCK, count)
        for name, values in changed.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(
                place, table.schema.field(name), pa.array(values, table[name].type)
            )
        return table

    @staticmethod
    def _tar(index):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "tar")
            with ShardWriter(path) as writer:
                for place in range(PAIRS * index, PAIRS * (index + 1)):
                    facts = SampleFacts(
                        key=f"{place:09d}", index=place, dataset_id="0123456789abcdef",
                        class_label=-1, class_name="", confidence=0.5, width=16, height=16,
                        class_px=[200, 56], ignore_px=0,
                    )  # fmt: skip
                    pixels, mask = _pixels()
                    writer.add(
                        [
                            (f"{place:09d}.image.png", encode_image(pixels, EncodeSpec())),
                            (f"{place:09d}.mask.png", encode_mask(mask)),
                            (f"{place:09d}.json", encode_facts(facts).ljust(1000)),
                        ]
                    )
                writer.finish()
            return path.read_bytes()

    def names(self, folder, splits=()):
        if folder == "receipts":
            return [receipt_path(0, index) for index in range(self.num_shards)]
        if folder == "snapshots":
            return [receipts.path_of_block(block) for block in sorted(self.snapshots)]
        return []

    def files(self, folder):
        if folder != "data":  # a listing is no read
            sizes = {
                path: len(LargeStore.read(self, path)) for path in LargeStore.names(self, folder)
            }
            return [StoredFile(path, sizes.get(path, 1), 0.0) for path in self.names(folder)]
        size = self._template["size_bytes"][0].as_py()
        tars = (tar_path(f"large-{index:06d}") for index in range(self.num_shards))
        return [StoredFile(tar, size, 0.0) for tar in tars]

    def read(self, path):
        first = int(match[1]) if (match := re.search(r"(\d{6})[^/]*$", path)) else 0
        if path.startswith("snapshots/"):
            is_there = first // receipts.BLOCK in self.snapshots
            return (
                encode_table(self.table(first, receipts.BLOCK).replace_schema_metadata({}))
                if is_there
                else None
            )
        if path.startswith("receipts/"):
            return encode_record(records_of(self.table(first, 1))[0])
        if path.startswith("data/"):
            return self._tar(first)
        if path == round_path(0):
            return encode_round(self.plan.rounds[0])
        if path == LABELS_PATH:
            return encode_labels(LABELS)
        return (self.views or {}).get(path)

    def read_part(self, path, offset, size_bytes):
        data = self.read(path)
        return None if data is None else data[offset : offset + size_bytes]

    def size_of(self, path):
        if path.startswith("data/"):
            return self._template["size_bytes"][0].as_py()
        data = self.read(path)
        return None if data is None else len(data)

    def replace(self, path, data):
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        file.seek(0)
        digest, size = hashlib.sha256(), 0
        kept = []
        while part := file.read(2**20):
            digest.update(part)
            size += len(part)
            if self.views is not None:
                kept.append(part)
        self.written[path] = size, digest.hexdigest()
        if self.views is not None:
            self.views[path] = b"".join(kept)

    def create(self, path, data):
        if path.startswith("snapshots/"):
            self.snapshots.add(int(path[10:16]) // receipts.BLOCK)
        self.written[path] = len(data), hashlib.sha256(data).hexdigest()
        return True

    def remove(self, path):
        self.snapshots.discard(int(path[10:16]) // receipts.BLOCK)


def _pixels():
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[4:11, 4:12] = 1
    return pixels, mask
