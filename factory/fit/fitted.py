"""Find the fitted segmenter of a dataset in the cache, or fit it: same inputs, same file."""

import importlib
import threading

import torch

from factory.cache import cache_folder
from factory.errors import FactoryError, PluginError
from factory.fit import FITTERS
from factory.fit.bench import Bench, Checkpoint
from factory.fit.pool import LanePool, Pool, one_thread
from factory.fit.progress import OnProgress, Progress
from factory.generate.base import load_generator
from factory.generate.weights import LocalWeights
from factory.identity import digest_of
from factory.plan import BYTES_VERSION
from factory.segment import SEGMENTERS
from factory.spec import DatasetSpec
from factory.store import LocalStore


def needs_fitting(dataset: DatasetSpec) -> bool:
    """Whether the dataset's segmenter has to be fitted before it can make masks."""
    return dataset.segmenter.kind in FITTERS


def check_kind(dataset: DatasetSpec) -> None:
    """Say at once, before anything is fitted, that a segmenter does not exist.

    Raises:
        PluginError: If nothing has that name.
    """
    SEGMENTERS.target(dataset.segmenter.kind)


def fit_key(dataset: DatasetSpec, weights_sha256: str) -> str:
    """Digest of everything that decides what a fit gives."""
    section = dataset.model_dump(mode="json")
    generator = {k: v for k, v in section["generator"].items() if k not in ("weights", "sha256")}
    return digest_of(
        {
            "bytes_version": BYTES_VERSION,
            "weights_sha256": weights_sha256,
            "generator": generator,
            "segmenter": section["segmenter"],
            "latents": section["latents"],
            "batch_size": section["batch_size"],
        }
    )


def find_fitted(dataset: DatasetSpec, weights_sha256: str) -> bytes | None:
    """The segmenter file if this machine has fitted it before; None if not."""
    return _cache().read(_cache_name(dataset, weights_sha256))


def fit_segmenter(
    dataset: DatasetSpec,
    weights: LocalWeights,
    *,
    device: torch.device,
    on_progress: OnProgress,
    pool: Pool | None = None,
    stop: threading.Event | None = None,
) -> bytes:
    """Fit the dataset's segmenter, keep it in the cache, and return the file.

    Pixels are sampled and kept by `pool`, or by this thread if there is none. Neither it nor an
    interruption in between changes a byte.

    Raises:
        JobError: If the settings do not fit the generator.
        PluginError: If the kind is not one that is fitted.
        Interrupted: If `stop` was set; the next call goes on from the last checkpoint.
    """
    kind = dataset.segmenter.kind
    if kind not in FITTERS:
        raise PluginError(
            f"segmenter {kind!r}: there is nothing to fit; known: {', '.join(FITTERS)}"
        )
    module, _, name = FITTERS[kind].partition(":")
    fit = getattr(importlib.import_module(module), name)
    checkpoint = Checkpoint(_cache(), _checkpoint_name(dataset, weights.sha256, device))
    progress = Progress(on_progress, stop or threading.Event())
    with one_thread(), torch.inference_mode():
        if pool is None:
            generator = load_generator(dataset.generator, weights.path, device=device)
            pool = LanePool(generator, dataset, device, num_lanes=1)
        bench = Bench(dataset, pool, progress, checkpoint)
        data: bytes = fit(dataset.segmenter, bench, weights_sha256=weights.sha256)
    try:
        _cache().replace(_cache_name(dataset, weights.sha256), data)
    except FactoryError:
        return data  # the cache saves time; a full or read-only home must not cost the run
    checkpoint.remove()
    return data


def _cache() -> LocalStore:
    return LocalStore(str(cache_folder("segmenters")))


def _cache_name(dataset: DatasetSpec, weights_sha256: str) -> str:
    return f"{fit_key(dataset, weights_sha256)}.safetensors"


def _checkpoint_name(dataset: DatasetSpec, weights_sha256: str, device: torch.device) -> str:
    """Other hardware or libraries would go on with other digits."""
    here = digest_of([fit_key(dataset, weights_sha256), device.type, str(torch.__version__)])
    return f"{here}.partial"
