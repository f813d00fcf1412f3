"""The settings of a job that change no byte: how a dataset is made, and where it is written."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from factory.spec.settings import Settings, Weight

_MOST_ACTORS = 100_000
_NOT_CUSTOM = ("cpu", "gpu", "memory", "object_store_memory", "")
_VARIABLE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#]+\S*")


def find_web_problem(address: str) -> str:
    """What is wrong with a web address, without repeating it: often it is a secret. Empty = nothing."""
    if not _WEB_ADDRESS.fullmatch(address):
        return "no address with http:// or https://"
    try:
        parts = urlsplit(address)
        known = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        known = None
    if not known:
        return "an address without a host, or with an odd port"
    return "an address with a user or password, which are not sent" if "@" in parts.netloc else ""


def _check_web_address(value: str) -> str:
    problem = "" if _VARIABLE.fullmatch(value) else find_web_problem(value)
    if problem:
        allowed = "must be an address with http:// or https://, or env:NAME"
        raise ValueError(allowed if problem.startswith("no") else f"{allowed}; found {problem}")
    return value


WebAddress = Annotated[str, AfterValidator(_check_web_address)]
"""An address with http:// or https://, or `env:NAME` for one in an environment variable."""


class RunSpec(Settings):
    """How the dataset is made. Nothing here changes a byte."""

    executor: Literal["ray", "inline"] = "ray"
    """`ray` = actors on this machine or a cluster; `inline` = threads of this process."""
    address: str | None = None
    """Address of a Ray cluster, e.g. `auto` or `ray://head:10001`. Empty = a local one for this run."""
    num_actors: int | Literal["auto"] = "auto"
    """Number of workers. `auto` = as many as fit on the cluster's CPUs (or GPUs)."""
    max_actors: int | None = Field(None, ge=1, le=_MOST_ACTORS)
    """For clusters that add nodes on demand, from 0 on: `auto` asks for up to so many workers, whatever
    fits now. Empty = only the nodes that are there are used."""
    resources: dict[str, Weight] = Field({})
    """Custom resources of Ray that each worker takes, e.g. `{a100: 1}`: it runs only on nodes that were
    started with them."""
    threads_per_actor: int = Field(1, ge=1, le=256)
    """Batches that a worker computes concurrently on the CPU, each on one thread, so that the number of
    threads cannot change a sum."""
    gpus_per_actor: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    """GPUs (or the share of one) per worker; 0 = compute on the CPU. `auto` = one GPU if the cluster, or
    this machine, has any. A GPU's bytes are not those of a CPU."""
    encode_threads: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = "auto"
    """Threads per worker that encode images while the next batch is computed; 0 = each batch is encoded
    by the thread that computed it. `auto` = the cores of the machine divided by its workers; on the
    CPU only those that are idle otherwise, and none for batches of small images."""
    shards_per_actor: int = Field(500, ge=1)
    """Shards after which a worker process is replaced, as a safeguard against memory leaks. Only for
    `ray`."""
    shard_deadline_s: float = Field(3600, gt=0)
    """Timeout in seconds: a worker that finishes no shard for so long is killed, and the shard is
    retried. Only for `ray`."""

    serve_port: int | None = Field(None, ge=0, le=65535)
    """Loopback port of a live page about the run; 0 = any free one. Empty = no page. Only with
    `executor: ray`; `factory serve` shows a dataset at any time."""

    notify: WebAddress | None = None
    """Web address that gets a POST when a run ends, fails or is stopped, or a target cannot be met;
    or `env:NAME` for one in an environment variable. Signed if FACTORY_NOTIFY_SECRET is set."""
    push_metrics: WebAddress | None = None
    """Address of a Prometheus Pushgateway, or `env:NAME`: metrics are pushed once a minute and at the
    end."""

    tensorboard: str | None = Field(None, min_length=1)
    """Folder for figures of the run over time (rate, rejects, stages, workers) as event files of
    TensorBoard, relative to the folder the command runs in. Needs `maskfactory[tensorboard]`. Empty =
    none."""
    mlflow: str | None = Field(None, min_length=1)
    """The same for MLflow: its tracking URI (a folder, or an address), or `env:NAME`; the experiment is
    called as the dataset. Needs `maskfactory[mlflow]`. Empty = none."""

    @field_validator("resources")
    @classmethod
    def _are_custom(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name.lower() in _NOT_CUSTOM:
                raise ValueError(
                    f"{name!r} is no custom resource; CPUs and GPUs are run.threads_per_actor and "
                    "run.gpus_per_actor"
                )
        return value

    @model_validator(mode="after")
    def _grows_by_itself(self) -> "RunSpec":
        if self.max_actors is not None and self.num_actors != "auto":
            raise ValueError("`max_actors` goes with `num_actors: auto`; leave one of them out")
        return self

    @field_validator("num_actors")
    @classmethod
    def _is_possible(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be `auto` or at least 1")
        if isinstance(value, int) and value > _MOST_ACTORS:
            raise ValueError(f"must be `auto` or at most {_MOST_ACTORS:,}")
        return value


class OutputSpec(Settings):
    """Where the dataset is written. Nothing here changes a byte."""

    uri: str = Field(min_length=1)
    """Folder or `s3://bucket/prefix` for the dataset; one folder holds one dataset."""
    single_writer: bool = False
    """Set it if only one run at a time writes there. Required for stores without exclusive creation of
    files, which `factory doctor` detects; a lease then keeps a second run out."""
