"""What a job costs, from measured rates and given prices. Pure arithmetic."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from factory.errors import JobError
from factory.run.estimate import Estimate
from factory.spec import JobSpec

_FILES_PER_SHARD = 3
"""Requests that write a shard's tar, its table and its receipt; a large tar is written in parts."""
_PART_BYTES = 2**26
_HOUR_S = 3600
_MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in one currency. What has none costs nothing."""

    gpu_hour: float = 0.0
    """A GPU, or a machine with one, for an hour."""
    cpu_hour: float = 0.0
    """A core for an hour."""
    gb_month: float = 0.0
    """Storing 10^9 bytes for a month."""
    put_1000: float = 0.0
    """A thousand requests that write to the store."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the pairs cost that a job is to make; None where nothing was measured."""

    pairs: int
    """Pairs that are not made yet: compute and requests are for them."""
    pairs_per_gpu_hour: float | None
    """None if the job computes on the CPU."""
    pairs_per_cpu_hour: float | None
    """Pairs per hour of a core; with a GPU, of the cores beside it."""
    bytes_per_million: int | None
    """Bytes that a million pairs take."""
    compute: float | None
    """GPUs and cores."""
    requests: float | None
    """Requests to the store."""
    storage_month: float | None
    """Storing all pairs of the dataset for a month."""
    per_million: float | None
    """Compute and requests for a million pairs."""


def read_prices(texts: Sequence[str]) -> Prices:
    """Read prices such as `gpu_hour=1.2`; several can stand in one text, with commas.

    Raises:
        JobError: If one has no such name, is given twice, or is no price.
    """
    known = [field.name for field in fields(Prices)]
    found: dict[str, float] = {}
    for text in ",".join(texts).split(","):
        name, _, value = text.strip().partition("=")
        if name not in known or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
            raise JobError(
                where="--price",
                found=f"found {text.strip()!r}",
                allowed=f"NAME=PRICE with one of {', '.join(known)}, such as gpu_hour=1.2",
            )
        if name in found:
            raise JobError(where="--price", found=f"gives {name} twice")
        found[name] = float(value)
    return Prices(**found)


def price_job(spec: JobSpec, estimate: Estimate, prices: Prices) -> Cost:
    """What the missing pairs of a job cost, on machines like the one that measured them.

    The measured rate is that of one worker: a worker takes `gpus_per_actor` of a GPU and
    `threads_per_actor` cores.
    """
    left = estimate.num_samples - estimate.num_done
    seconds, run = estimate.seconds_per_pair, spec.run
    # `auto` is what was measured: a GPU that PyTorch cannot compute on has no part in the rate.
    is_gpu = estimate.gpu_bytes is not None
    gpus = float(is_gpu) if run.gpus_per_actor == "auto" else float(run.gpus_per_actor)
    per_pair = estimate.bytes_in_all / estimate.num_samples if estimate.bytes_in_all else None
    compute = requests = storage = per_million = None
    if seconds is not None:
        gpu_price = prices.gpu_hour * gpus
        hour = gpu_price + prices.cpu_hour * run.threads_per_actor
        compute = left * seconds / _HOUR_S * hour
    if per_pair is not None:
        storage = estimate.num_samples * per_pair / 1e9 * prices.gb_month
        requests = left * _requests_per_pair(spec, per_pair) * prices.put_1000 / 1000
    if compute is not None and requests is not None:
        per_million = (compute + requests) / left * _MILLION if left else 0.0
    return Cost(
        pairs=left,
        pairs_per_gpu_hour=_per_hour(seconds, gpus),
        pairs_per_cpu_hour=_per_hour(seconds, float(run.threads_per_actor)),
        bytes_per_million=int(per_pair * _MILLION) if per_pair is not None else None,
        compute=compute,
        requests=requests,
        storage_month=storage,
        per_million=per_million,
    )


def _per_hour(seconds_per_pair: float | None, share: float) -> float | None:
    return _HOUR_S / (seconds_per_pair * share) if seconds_per_pair and share else None


def _requests_per_pair(spec: JobSpec, bytes_per_pair: float) -> float:
    samples = spec.dataset.samples_per_shard
    parts = math.ceil(samples * bytes_per_pair / _PART_BYTES)
    # A tar in parts takes two more requests, which begin and end it.
    return (_FILES_PER_SHARD + (parts + 1 if parts > 1 else 0)) / samples
