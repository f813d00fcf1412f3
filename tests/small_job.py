"""A dataset of 13 pairs on the toy generator: made in a fraction of a second, nothing mocked.

Nothing divides evenly: shards of 5, 5 and 3 are made in batches of 3, so that every shard has a batch
that is cut short, and two of them begin where no batch of the whole dataset would.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from factory.data import ShardTask
from factory.job import run_job
from factory.manifest.records import Manifest, ShardRecord
from factory.run.base import WorkerConfig
from factory.spec import JobSpec
from factory.spec.read import check_job
from factory.spec.segmenters import ByKind

SEGMENTER_KINDS = ByKind().classes()


def small_document(folder: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The tiny job as a plain mapping. `overrides` maps dotted paths to values."""
    document: dict[str, Any] = {
        "name": "tiny",
        "dataset": {
            "num_samples": 13,
            "samples_per_shard": 5,
            "batch_size": 3,
            "generator": {"kind": "shapes"},
            "segmenter": {
                "kind": "kmeans",
                "num_clusters": 4,
                "fit": {"num_images": 8, "pixels_per_image": 64},
            },
        },
        "run": {"executor": "inline"},
        "output": {"uri": str(folder / "out")},
    }
    for path, value in (overrides or {}).items():
        *parents, last = path.split(".")
        section = document
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return document


def small_job(folder: Path, overrides: Mapping[str, Any] | None = None) -> JobSpec:
    """The tiny job, checked. Its output is `folder/out`."""
    return check_job(small_document(folder, overrides), source="small_job")


EXACT_PARTS = {"kind": "plugins.mixing_plugins:Parts"}
"""The `dataset.segmenter` section of a plugin with the toy's exact masks, which needs no fit."""


def worker_config(spec: JobSpec) -> WorkerConfig:
    """What a worker is told of a job whose segmenter needs no fit."""
    return WorkerConfig(
        dataset=spec.dataset,
        run=spec.run,
        output_uri=spec.output.uri,
        single_writer=False,
        weights_sha256="",
        segmenter_path="",
        run_id="run",
        import_paths=(),
    )


class Witness:
    """An observer that remembers what it was told."""

    def __init__(self) -> None:
        self.fitted: list[tuple[str, int, int]] = []
        self.starts: list[tuple[int, int]] = []
        self.records: list[ShardRecord] = []
        self.failures: list[tuple[str, str, bool]] = []

    def downloading(self, num_bytes: int, total_bytes: int) -> None:
        """Nothing to note."""

    def fitting(self, stage: str, num_done: int, num_total: int, eta_s: float | None) -> None:
        self.fitted.append((stage, num_done, num_total))

    def started(self, num_samples: int, num_done: int) -> None:
        self.starts.append((num_samples, num_done))

    def committed(self, record: ShardRecord) -> None:
        self.records.append(record)

    def failed(self, task: ShardTask, reason: str, *, again: bool) -> None:
        self.failures.append((task.name, reason, again))


def make_small(folder: Path, overrides: Mapping[str, Any] | None = None) -> Manifest:
    """Run the tiny job in this process."""
    return run_job(small_job(folder, overrides), Witness())


def setting_names(model: type[BaseModel] = JobSpec, prefix: str = "") -> list[str]:
    """The dotted name of every setting; those of a segmenter carry its kind in brackets.

    An optional section is a setting itself, and so is each one inside it. `[]` stands for each entry
    of a list, `*` for each value of a mapping.
    """
    names: list[str] = []
    for name, field in model.model_fields.items():
        where = f"{prefix}{name}"
        if name == "segmenter":
            for tag, member in SEGMENTER_KINDS.items():
                names += setting_names(member, f"{where}[{tag}].")
            continue
        inside = [] if _is_any_method(field) else list(_sections_in(field.annotation))
        if not (isinstance(field.annotation, type) and inside):
            names.append(where)
        for ending, section in inside:
            names += setting_names(section, f"{where}{ending}.")
    return names


def _is_any_method(field: FieldInfo) -> bool:
    """Whether it holds the settings of a method, which are listed under `segmenter`."""
    return any(isinstance(mark, ByKind) for mark in field.metadata)


def _sections_in(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """The models that a field can hold, each with how to get to it from the field's name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
        return
    ending = {list: "[]", tuple: "[]", dict: ".*"}.get(get_origin(annotation), "")
    for part in get_args(annotation):
        yield from ((ending + below, section) for below, section in _sections_in(part))


def make_divided(folder: Path) -> Path:
    """A dataset of 60 samples in three splits; its folder."""
    splits = {"train": 0.8, "val": 0.1, "test": 0.1}
    make_small(folder, {"dataset.num_samples": 60, "dataset.splits": splits})
    return folder / "out"
