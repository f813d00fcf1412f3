"""Parquet files that Hugging Face `datasets` reads as images, with a card and `id2label.json`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8

from factory.dataset.card import table_cell
from factory.dataset.walk import EDITED_MASK_FILE, MASK_FILE
from factory.export.examples import Example, Exported, write_file
from factory.pack.image import encode_mask
from factory.spec.yaml_text import dump_yaml

_ROWS_PER_FILE = 5000
_ROWS_PER_GROUP = 100
"""Rows of a group: a reader of single rows decodes a whole group, and images are large."""

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_Columns = dict[str, tuple[pa.DataType, dict[str, Any]]]
_COLUMNS: _Columns = {
    "image": (_PICTURE, {"_type": "Image"}),
    "mask": (_PICTURE, {"_type": "Image"}),
    "key": (pa.string(), {"dtype": "string", "_type": "Value"}),
    "class_label": (pa.int64(), {"dtype": "int64", "_type": "Value"}),
    "class_name": (pa.string(), {"dtype": "string", "_type": "Value"}),
    "confidence": (pa.float64(), {"dtype": "float64", "_type": "Value"}),
}
_OF_EDITS: _Columns = dict.fromkeys(("edited", "edited_mask"), _COLUMNS["image"])


def export_hub(source: Exported, folder: Path) -> int:
    """Write `data/SPLIT-NNNNN-of-NNNNN.parquet`, `README.md` with `dataset_info`, and `id2label.json`.

    Samples with edits also have the columns `edited` and `edited_mask`.

    Returns:
        The number of images.

    Raises:
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    columns = _COLUMNS | (_OF_EDITS if source.is_edited else {})
    features = {name: feature for name, (_, feature) in columns.items()}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()], metadata)
    splits: list[dict[str, Any]] = []
    for split in source.splits:
        records = source.manifest.records_of(split)
        total = sum(source.left_out.num_left(record) for record in records)
        num_files = max(1, -(-total // _ROWS_PER_FILE))
        part = Exported(source.store, source.manifest, (split,), source.left_out)
        rows = map(_row, part)
        size_bytes = 0
        for number in range(num_files):
            count = min(_ROWS_PER_FILE, total - number * _ROWS_PER_FILE)
            path = folder / f"data/{split}-{number:05d}-of-{num_files:05d}.parquet"
            size_bytes += _write(path, schema, rows, count)
        splits.append({"name": split, "num_bytes": size_bytes, "num_examples": total})
    names = dict(enumerate(source.class_names))
    write_file(folder, "id2label.json", (json.dumps(names, indent=1) + "\n").encode())
    write_file(folder, "README.md", _card(source, columns, splits))
    return sum(split["num_examples"] for split in splits)


def _row(example: Example) -> dict[str, Any]:
    mask, edited_mask = encode_mask(example.mask.copy()), example.sample.edited_mask
    after = {} if edited_mask is None else _after(example, edited_mask)
    return {
        "image": {"bytes": example.image, "path": example.name},
        "mask": {"bytes": mask, "path": f"{example.key}.{MASK_FILE}"},
        "key": example.key,
        "class_label": example.facts.class_label,
        "class_name": example.facts.class_name,
        "confidence": example.facts.confidence,
        **after,
    }


def _after(example: Example, mask: UInt8[np.ndarray, "h w"]) -> dict[str, Any]:
    """The cells of a sample after its edit."""
    return {
        "edited": {"bytes": example.edited, "path": f"{example.key}.edited.{example.ending}"},
        "edited_mask": {
            "bytes": encode_mask(mask.copy()),
            "path": f"{example.key}.{EDITED_MASK_FILE}",
        },
    }


def _write(path: Path, schema: pa.Schema, rows: Iterator[dict[str, Any]], count: int) -> int:
    """Write a file of `count` rows, group by group: not all of them fit in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="none") as writer:  # images are compressed
        for first in range(0, count, _ROWS_PER_GROUP):
            group = [next(rows) for _ in range(min(_ROWS_PER_GROUP, count - first))]
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return path.stat().st_size


def _card(source: Exported, columns: _Columns, splits: Sequence[dict[str, Any]]) -> bytes:
    features = [
        {"name": name, "dtype": "image" if kind is _PICTURE else feature["dtype"]}
        for name, (kind, feature) in columns.items()
    ]
    size = sum(split["num_bytes"] for split in splits)
    front = {
        "pretty_name": source.manifest.name,
        "license": source.manifest.meaning.license.lower() or "unknown",
        "task_categories": ["image-segmentation"],
        "tags": ["synthetic"],
        "dataset_info": {
            "features": features,
            "splits": list(splits),
            "download_size": size,
            "dataset_size": size,
        },
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": f"data/{split}-*.parquet"} for split in source.splits
                ],
            }
        ],
    }
    rows = [f"| {place} | {table_cell(name)} |" for place, name in enumerate(source.class_names)]
    text = [
        "---", dump_yaml(front).strip(), "---", f"# {source.manifest.name}", "",
        "| mask value | class |", "|---|---|", *rows, "| 255 | no class: do not score |", "",
        "`id2label.json` has the same table for `transformers`.", "",
        source.manifest.meaning.attribution, "",
    ]  # fmt: skip
    return "\n".join(text).encode()
