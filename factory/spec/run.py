"""The settings of a job that change no byte: how a dataset is made, and where it is written."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from factory.spec.settings import Settings

_MOST_ACTORS = 100_000


class RunSpec(Settings):
    """How the dataset is made. Nothing here changes a byte."""

    executor: Literal["ray", "inline"] = "ray"
    """`ray` = actors on this machine or a cluster; `inline` = threads of this process."""
    address: str | None = None
    """Address of a Ray cluster, e.g. `auto` or `ray://head:10001`. Empty = a local one for this run."""
    num_actors: int | Literal["auto"] = "auto"
    """Number of workers. `auto` = as many as fit on the cluster's CPUs (or GPUs)."""
    threads_per_actor: int = Field(1, ge=1, le=256)
    """Batches that a worker computes concurrently on the CPU, each on one thread, so that the number of
    threads cannot change a sum."""
    gpus_per_actor: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    """GPUs (or the share of one) per worker; 0 = compute on the CPU. `auto` = one GPU if the cluster, or
    this machine, has any. A GPU's bytes are not those of a CPU."""
    encode_threads: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = "auto"
    """Threads per worker that encode images while the next batch is computed; 0 = each batch is encoded
    by the thread that computed it. `auto` = the cores of the machine divided by its workers; on the
    CPU only those that are idle otherwise."""
    shards_per_actor: int = Field(500, ge=1)
    """Shards after which a worker process is replaced, as a safeguard against memory leaks. Only for
    `ray`."""
    shard_deadline_s: float = Field(3600, gt=0)
    """Timeout in seconds: a worker that finishes no shard for so long is killed, and the shard is
    retried. Only for `ray`."""

    serve_port: int | None = Field(None, ge=0, le=65535)
    """Loopback port of a live page about the run; 0 = any free one. Empty = no page. Only with
    `executor: ray`; `factory serve` shows a dataset at any time."""

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
