"""Find the fitted segmenter of a dataset, or fit it: same inputs, same file.

What is fitted is kept whole, a merge tree with all its nodes: cuts and names do not need another fit.
"""

import threading
from pathlib import Path

import torch

from factory.errors import FactoryError, JobError, PluginError
from factory.fit import FITTERS, is_fitted, load_fitter
from factory.fit.context import Checkpoint, FitContext
from factory.fit.pixels.pool import LanePool, Pool, one_thread
from factory.fit.progress import OnProgress, Progress
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights
from factory.identity import digest_of
from factory.plan.rounds import BYTES_VERSION
from factory.segment import SEGMENTERS
from factory.segment.segmenter_file import decode_segmenter
from factory.spec import DatasetSpec, KlishSpec
from factory.store import LocalStore
from factory.store.cache import cache_folder

_AFTER_THE_FIT = ("cut", "labels", "ignore_unclaimed", "fitted")
"""Settings of segmenters that say what is done with a fit."""


def needs_fitting(dataset: DatasetSpec) -> bool:
    """Whether the dataset's segmenter is one that has to be fitted before it can make masks."""
    return is_fitted(dataset.segmenter)


def names_fitted_file(dataset: DatasetSpec) -> bool:
    """Whether the job names a fitted file that is here; a dataset goes on without it."""
    spec = dataset.segmenter
    return isinstance(spec, KlishSpec) and spec.fitted is not None and Path(spec.fitted).exists()


def check_kind(dataset: DatasetSpec) -> None:
    """Say at once, before anything is fitted, that a segmenter does not exist.

    Raises:
        PluginError: If nothing has that name.
    """
    SEGMENTERS.target(dataset.segmenter.kind)


def fit_key(dataset: DatasetSpec, weights_sha256: str) -> str:
    """Digest of everything that decides what a fit gives."""
    section = dataset.model_dump(mode="json")
    segmenter = {k: v for k, v in section["segmenter"].items() if k not in _AFTER_THE_FIT}
    generator = {k: v for k, v in section["generator"].items() if k not in ("weights", "sha256")}
    return digest_of(
        {
            "bytes_version": BYTES_VERSION,
            "weights_sha256": weights_sha256,
            "generator": generator,
            "segmenter": segmenter,
            "latents": section["latents"],
            "batch_size": section["batch_size"],
        }
    )


def find_fitted(dataset: DatasetSpec, weights_sha256: str) -> bytes | None:
    """What the job says is fitted already, or this machine has fitted before; None if neither.

    Raises:
        JobError: If the job's file is missing, damaged, or for another generator or method.
    """
    spec = dataset.segmenter
    if isinstance(spec, KlishSpec) and spec.fitted is not None:
        return _read_fitted(Path(spec.fitted), dataset, weights_sha256)
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
    if not needs_fitting(dataset):
        raise PluginError(
            f"segmenter {kind!r}: there is nothing to fit; known: {', '.join(FITTERS)}"
        )
    checkpoint = Checkpoint(_cache(), _checkpoint_name(dataset, weights.sha256, device))
    progress = Progress(on_progress, stop or threading.Event())
    with one_thread(), torch.inference_mode():
        if pool is None:
            generator = load_generator(dataset.generator, weights.path, device=device)
            pool = LanePool(generator, dataset, device, num_lanes=1)
        data, is_kept = fit_and_keep(
            FitContext(dataset, pool, progress, checkpoint), weights.sha256
        )
    if is_kept:
        checkpoint.remove()
    return data


def fit_and_keep(bench: FitContext, weights_sha256: str) -> tuple[bytes, bool]:
    """Fit what the bench's dataset asks for; the file, and whether the cache took it.

    The cache saves time; a full or read-only home must not cost the run.
    """
    dataset = bench.dataset
    fit = load_fitter(dataset.segmenter.kind)
    data = fit(dataset.segmenter, bench, weights_sha256=weights_sha256)
    try:
        _cache().replace(_cache_name(dataset, weights_sha256), data)
    except FactoryError:
        return data, False
    return data, True


def _read_fitted(path: Path, dataset: DatasetSpec, weights_sha256: str) -> bytes:
    where = f"dataset.segmenter.fitted: {path}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JobError(
            f"{where} cannot be read ({error.strerror}); make it with `factory fit -o`, or leave "
            "`fitted` out to fit here"
        ) from error
    _, facts = decode_segmenter(data, source=where)
    for noun, found, ours in (
        ("segmenter", facts.kind, dataset.segmenter.kind),
        ("generator", facts.generator_kind, dataset.generator.kind),
        ("weights with sha256", facts.weights_sha256, weights_sha256),
    ):
        if found != ours:
            raise JobError(
                f"{where} is fitted for {noun} {found or 'none'}, the job has {ours or 'none'}; fit "
                "it on this job's generator"
            )
    return data


def _cache() -> LocalStore:
    return LocalStore(str(cache_folder("segmenters")))


def _cache_name(dataset: DatasetSpec, weights_sha256: str) -> str:
    return f"{fit_key(dataset, weights_sha256)}.safetensors"


def _checkpoint_name(dataset: DatasetSpec, weights_sha256: str, device: torch.device) -> str:
    """Other hardware or libraries would go on with other digits."""
    here = digest_of([fit_key(dataset, weights_sha256), device.type, str(torch.__version__)])
    return f"{here}.partial"
