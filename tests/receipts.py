"""Receipts and a manifest that no run made: every fact has a value, and any can be another."""

import io

from factory.manifest.labels import DatasetLabels, MaskClass
from factory.manifest.records import Manifest, ShardRecord
from factory.manifest.table import table_of, writing_manifest

LABELS = DatasetLabels(
    labels=[
        MaskClass(id=0, name="ground", colour=(1, 2, 3)),
        MaskClass(id=1, name="disc", colour=(200, 100, 0)),
    ],
    generator_classes=[],
    attribution="",
    license="",
)


def a_record(shard_index=0, **changes):
    facts = {
        "dataset_id": "0123456789abcdef",
        "round_index": 0,
        "shard_index": shard_index,
        "path": f"data/train/tiny-{shard_index:06d}.tar",
        "first_index": 4 * shard_index,
        "num_indices": 4,
        "num_samples": 3,
        "num_rejected": {"confidence": 1, "class_2_too_small": 2},
        "num_members": 9,
        "size_bytes": 10_240,
        "sha256": "ab" * 32,
        "class_images": [3, 1],
        "class_px": [3000, 72],
        "confidence": [0.0, 0.25, 0.5, 0.75, 1.0],
        "wall_s": 0.1,
        "generate_s": 0.0,
        "device": "some processor",
        "worker": "host/1",
        "run_id": "host-1-00000000",
        "versions": {"torch": "2", "numpy": "1"},
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    return ShardRecord(**(facts | changes))


def a_manifest(records=(), **changes):
    facts = {
        "name": "tiny",
        "dataset_id": "0123456789abcdef",
        "identity": {
            "generator": {"kind": "shapes", "weights_sha256": ""},
            "segmenter": {"kind": "kmeans", "sha256": "cd" * 32},
            "encode": {"image": "png"},
            "latents": {"classes": None, "truncation_psi": 1.0},
        },
        "meaning": LABELS,
        "num_planned": 8,
        "records": list(records),
    }
    return Manifest(**(facts | changes))


def encode_manifest(manifest):
    """The bytes of a manifest with all of its receipts in one row group."""
    sink = io.BytesIO()
    with writing_manifest(manifest, sink) as rows:
        rows.add(table_of(manifest.records))
    return sink.getvalue()
