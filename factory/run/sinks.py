"""Where figures of a run can go as it makes shards: TensorBoard and MLflow, through their libraries."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from factory.run.notify import resolve_variable
from factory.spec import JobSpec


@runtime_checkable
class Sink(Protocol):
    """Takes the figures of a run."""

    def write(self, figures: Mapping[str, float], step: int) -> None:
        """Take figures by name; `step` is the number of samples that the dataset has by then."""

    def close(self, *, has_failed: bool) -> None:
        """The run has ended."""


def open_sinks(spec: JobSpec) -> list[Sink]:
    """Open the sinks that a job names. What their libraries raise is the caller's to tell."""
    found: list[Sink] = []
    if spec.run.tensorboard is not None:
        found.append(_TensorBoard(Path(spec.run.tensorboard).expanduser()))
    if spec.run.mlflow is not None:
        found.append(_MLflow(resolve_variable(spec.run.mlflow, "run.mlflow"), spec))
    return found


class _TensorBoard:
    """One event file for each run, in a folder that `tensorboard --logdir` shows."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def write(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, has_failed: bool) -> None:  # noqa: ARG002 - an event file does not say how a run ended
        self._writer.close()


class _MLflow:
    """A run of MLflow in the experiment that is called as the dataset."""

    def __init__(self, uri: str, spec: JobSpec) -> None:
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        self._metric: Any = Metric
        self._client: Any = MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name(spec.name)
        number = known.experiment_id if known else self._client.create_experiment(spec.name)
        self._run = self._client.create_run(number).info.run_id
        dataset = spec.dataset
        told = {"generator": dataset.generator.kind, "segmenter": dataset.segmenter.kind}
        for name, value in (told | {"num_samples": dataset.num_samples}).items():
            self._client.log_param(self._run, name, value)

    def write(self, figures: Mapping[str, float], step: int) -> None:
        now_ms = int(time.time() * 1e3)
        metrics = [self._metric(name, value, now_ms, step) for name, value in figures.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self, *, has_failed: bool) -> None:
        self._client.set_terminated(self._run, "FAILED" if has_failed else "FINISHED")
