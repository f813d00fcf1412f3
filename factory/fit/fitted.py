"""Find the fitted segmenter of a dataset, or fit it: same inputs, same file.

What is fitted is kept whole, a merge tree with all its nodes: cuts and names do not need another fit.
"""

import threading
from pathlib import Path
from typing import Any

import torch

from factory.errors import FactoryError, JobError, PluginError
from factory.fit.context import Checkpoint, FitContext
from factory.fit.current import has_tree_of_labels, treatment_of
from factory.fit.named_files import digest_named_files
from factory.fit.pixels.pool import PixelPool, ThreadedPixelPool, one_thread
from factory.fit.progress import OnProgress, Progress
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights
from factory.identity import digest_of
from factory.plan.identity import BYTES_VERSION, identity_of, put_digests
from factory.segment.methods import (
    SEGMENTER_SECTION,
    find_method,
    find_source_digests,
    import_part,
    is_fitted,
    settings_of,
)
from factory.segment.segmenter_file import decode_segmenter
from factory.segment.serving import check_generator
from factory.spec import METHODS, DatasetSpec
from factory.store import LocalStore
from factory.store.cache import cache_folder


def needs_fitting(dataset: DatasetSpec) -> bool:
    """Whether the dataset's segmenter is one that has to be fitted before it can make masks."""
    return is_fitted(dataset.segmenter)


def named_fitted_file(dataset: DatasetSpec) -> Path | None:
    """The fitted file that the job names, if it does."""
    method = find_method(dataset.segmenter.kind)
    if not method.fitted_file:
        return None
    named = getattr(settings_of(dataset.segmenter), method.fitted_file)
    return Path(named) if named else None


def names_fitted_file(dataset: DatasetSpec) -> bool:
    """Whether the job names a fitted file that is here; a dataset goes on without it."""
    path = named_fitted_file(dataset)
    return path is not None and path.exists()


def fit_key(dataset: DatasetSpec, weights_sha256: str) -> str:
    """Digest of everything that decides what a fit gives.

    Raises:
        JobError: If a file that decides it cannot be read.
    """
    key = {
        "bytes_version": BYTES_VERSION,
        "weights_sha256": weights_sha256,
        "generator": identity_of(dataset.generator),
        "segmenter": _fit_section(dataset),
        "latents": identity_of(dataset.latents),
        "batch_size": dataset.batch_size,
    }
    sources = find_source_digests(dataset.segmenter)
    return digest_of(key | {"sources": sources} if sources else key)


def _fit_section(dataset: DatasetSpec) -> dict[str, Any]:
    """The segmenter's settings without what is done with a fit; files by their content."""
    spec = dataset.segmenter
    settings = settings_of(spec)
    section = identity_of(settings)
    decides = find_method(spec.kind).fit_settings(section)
    section = {name: value for name, value in section.items() if name in decides}
    whole = section if settings is spec else {"settings": section}
    return {"kind": spec.kind, **put_digests(whole, digest_named_files(dataset))}


def find_fitted(dataset: DatasetSpec, weights_sha256: str) -> bytes | None:
    """The fitted file that the job names, or the one in this machine's cache; None if there is neither.

    A cached fit by an older fitter that would now give another one counts as none, unless it is what the
    job's labels name the nodes of.

    Raises:
        JobError: If the job's file is missing, damaged, or for another generator or method.
    """
    named = named_fitted_file(dataset)
    if named is not None:
        return _read_fitted(named, dataset, weights_sha256)
    before = _cache().read(f"{fit_key(dataset, weights_sha256)}.safetensors")
    if before is not None and has_tree_of_labels(before, dataset.segmenter):
        return before
    return _cache().read(_cache_name(dataset, weights_sha256))


def fit_segmenter(
    dataset: DatasetSpec,
    weights: LocalWeights,
    *,
    device: torch.device,
    on_progress: OnProgress,
    pool: PixelPool | None = None,
    stop: threading.Event | None = None,
) -> bytes:
    """Fit the dataset's segmenter, keep it in the cache, and return the file.

    Pixels are sampled and kept by `pool`, or by this thread if there is none. Neither it nor an
    interruption in between changes a byte.

    Raises:
        JobError: If the settings do not fit the generator.
        PluginError: If the kind is not one that is fitted.
        Interrupted: If `stop` was set; the next call resumes from the last checkpoint.
    """
    kind = dataset.segmenter.kind
    if not needs_fitting(dataset):
        fitted = ", ".join(name for name, method in METHODS.items() if method.fitter)
        raise PluginError(f"segmenter {kind!r}: there is nothing to fit; known: {fitted}")
    checkpoint = Checkpoint(_cache(), _checkpoint_name(dataset, weights.sha256, device))
    progress = Progress(on_progress, stop or threading.Event())
    with one_thread(), torch.inference_mode():
        if pool is None:
            with torch.inference_mode(mode=False):  # a search differentiates through its weights
                generator = load_generator(dataset.generator, weights.path, device=device)
            pool = ThreadedPixelPool(generator, dataset, device, num_fit_threads=1)
        data, is_kept = fit_and_keep(FitContext(dataset, weights, pool, progress, checkpoint))
    if is_kept:
        checkpoint.remove()
    return data


def fit_and_keep(context: FitContext) -> tuple[bytes, bool]:
    """Fit what the context's dataset asks for; the file, and whether the cache took it.

    The cache saves time; a full or read-only home must not cost the run.

    Raises:
        JobError: If the method cannot work on this generator, or a setting does not fit it.
        PluginError: If the method's fitter cannot be used.
    """
    dataset, spec = context.dataset, context.dataset.segmenter
    check_generator(spec.kind, context.pool.facts)
    fit = import_part(spec.kind, find_method(spec.kind).fitter)
    data: bytes = fit(settings_of(spec), context)
    try:
        _cache().replace(_cache_name(dataset, context.weights.sha256), data)
    except FactoryError:
        return data, False
    return data, True


def _read_fitted(path: Path, dataset: DatasetSpec, weights_sha256: str) -> bytes:
    setting = find_method(dataset.segmenter.kind).fitted_file
    where = f"{SEGMENTER_SECTION}.{setting}: {path}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JobError(
            f"{where} cannot be read ({error.strerror}); make it with `factory fit -o`, or leave "
            f"`{setting}` out to fit here"
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
    return f"{fit_key(dataset, weights_sha256)}{treatment_of(dataset.segmenter)}.safetensors"


def _checkpoint_name(dataset: DatasetSpec, weights_sha256: str, device: torch.device) -> str:
    """Other hardware or libraries would go on with other digits, an older fitter's with other pixels."""
    here = digest_of([fit_key(dataset, weights_sha256), device.type, str(torch.__version__)])
    return f"{here}{treatment_of(dataset.segmenter)}.partial"
