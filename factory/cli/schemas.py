"""The JSON Schemas kept in `schemas/`: generated from the types, never edited by hand."""

import json
from pathlib import Path

from pydantic import BaseModel

from factory.dataset.lease import Lease
from factory.dataset.quarantine import ShardFailure
from factory.downstream.model_scores import ModelScores
from factory.manifest.labels import DatasetLabels
from factory.manifest.records import Manifest, ShardRecord
from factory.pack.facts import (
    CleanedFacts,
    ComparedFacts,
    ComposedFacts,
    EditFacts,
    InstanceFacts,
    LayoutFacts,
    SampleFacts,
)
from factory.plan.rounds import Round
from factory.spec import JobSpec
from factory.spec.labels import LabelsSpec
from factory.train_generator.spec import TrainSpec

_TYPES: dict[str, type[BaseModel]] = {
    "job": JobSpec,
    "labels": DatasetLabels,
    "labels_file": LabelsSpec,
    "lease": Lease,
    "manifest": Manifest,
    "model_scores": ModelScores,
    "round": Round,
    "sample": SampleFacts,
    "sample_cleaned": CleanedFacts,
    "sample_compared": ComparedFacts,
    "sample_composed": ComposedFacts,
    "sample_with_edit": EditFacts,
    "sample_with_layout": LayoutFacts,
    "sample_with_instances": InstanceFacts,
    "shard_failure": ShardFailure,
    "shard_record": ShardRecord,
    "training": TrainSpec,
}


def make_schemas() -> dict[str, str]:
    """Make the schemas of all types that are stored in files, by file name."""
    return {
        f"{name}.schema.json": json.dumps(kind.model_json_schema(), indent=1, sort_keys=True) + "\n"
        for name, kind in _TYPES.items()
    }


def write_schemas(folder: Path) -> list[str]:
    """Write all schemas into `folder`; returns the names of those that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in make_schemas().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed
