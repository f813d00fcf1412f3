"""What must not change without a decision, as text: settings, exit codes, help, and a tiny dataset.

Files are compared by what is in them, not by their bytes, where a library decides the bytes: a new
Pillow may compress otherwise, and the pixels must still be the same.
"""

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from receipts import encode_manifest
from small_job import make_small, setting_names, small_job
from typer.main import get_command
from typer.testing import CliRunner

from factory import errors
from factory.cli.app import app
from factory.identity import counter_rng
from factory.manifest.parquet import read_table
from factory.manifest.records import Manifest
from factory.manifest.table import encode_snapshot
from factory.pack.facts import InstanceFacts, encode_sidecar
from factory.pack.image import decode_image, decode_mask
from factory.pack.tar import ShardWriter, read_members
from factory.plan.identity import dataset_id_of, make_identity

WIDTH = 100
STREAMS = ("latent", "class_label", "noise", "pixels", "seeding", "variants", "clustering")


def make_goldens() -> dict[str, str]:
    """File name to text, of everything that is frozen."""
    texts = {
        "settings.txt": "\n".join(setting_names()) + "\n",
        "exit_codes.txt": _exit_codes(),
        "columns.txt": _columns(),
        "tiny.json": json.dumps(_tiny(), indent=1, sort_keys=True) + "\n",
        "help/factory.txt": help_of(),
    }
    return texts | {help_file(name): help_of(*name.split()) for name in command_names()}


def command_names() -> list[str]:
    """Every command of the command line, and those below it as two words."""
    names = []
    for name, command in get_command(app).commands.items():
        names += [name, *(f"{name} {below}" for below in getattr(command, "commands", ()))]
    return sorted(names)


def help_file(command: str) -> str:
    """Where the help of a command is kept."""
    return f"help/{command.replace(' ', '_')}.txt"


def help_of(*command: str) -> str:
    """The help text of a command, in plain letters and of a fixed width."""
    environment = {"COLUMNS": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1"}
    result = CliRunner().invoke(
        app, [*command, "--help"], env=environment, terminal_width=WIDTH, prog_name="factory"
    )
    assert result.exit_code == 0, result.output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    return "\n".join(line.rstrip() for line in plain.strip().splitlines()) + "\n"


def _exit_codes() -> str:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    lines = [f"{k.__name__} {k.exit_code}" for k in kinds if issubclass(k, errors.FactoryError)]
    return "\n".join(lines) + "\n"


def _columns() -> str:
    """The columns of every table that is written, with their Arrow types."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_small(Path(folder))
        tables = {
            "manifest": encode_manifest(manifest),
            "snapshot": encode_snapshot(manifest.records),
            "sidecar": (Path(folder) / "out/meta/train/tiny-000000.parquet").read_bytes(),
            "sidecar with instances": encode_sidecar([_ONE_INSTANCE]),
        }
    lines = []
    for name, data in tables.items():
        columns = read_table(data).schema
        lines += [f"{name}.{column.name} {column.type}" for column in columns]
    return "\n".join(lines) + "\n"


_ONE_INSTANCE = InstanceFacts(
    key="000000000",
    index=0,
    dataset_id="0" * 16,
    class_label=-1,
    class_name="",
    confidence=0.5,
    width=4,
    height=4,
    class_px=[15, 1],
    ignore_px=0,
    instance_class=[1],
    instance_box_xyxy=[[0, 0, 1, 1]],
    instance_score=[0.5],
    instance_px=[1],
)


def _tiny() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = small_job(folder)
        manifest = make_small(folder)
        identity = make_identity(spec, weights_sha256="w" * 64, segmenter_sha256="s" * 64)
        return {
            "dataset_id": dataset_id_of(identity),
            "random_numbers": {
                stream: counter_rng(stream, 1, 2, 3).integers(0, 2**32, 3).tolist()
                for stream in STREAMS
            },
            "tar_sha256": _tar_digest(folder),
            "shards": [_shard(folder / "out" / record.path) for record in manifest.records],
            "class_px": _class_px(manifest),
        }


def _tar_digest(folder: Path) -> str:
    with ShardWriter(folder / "fixed.tar") as writer:
        writer.add([("000000000.json", b"{}\n"), ("000000001.image.png", bytes(range(256)))])
        return writer.finish().sha256


def _shard(path: Path) -> dict[str, Any]:
    images, masks = hashlib.sha256(), hashlib.sha256()
    names, facts = [], []
    for name, data in read_members(path):
        names.append(name)
        if name.endswith(".mask.png"):
            masks.update(decode_mask(data).tobytes())
        elif ".image." in name:
            images.update(decode_image(data).tobytes())
        else:
            facts = sorted(json.loads(data))
    return {
        "path": path.name,
        "names": names,
        "fact_keys": facts,
        "images_sha256": images.hexdigest(),
        "masks_sha256": masks.hexdigest(),
    }


def _class_px(manifest: Manifest) -> list[int]:
    return np.sum([record.class_px for record in manifest.records], axis=0).tolist()
