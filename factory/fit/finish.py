"""Make the file that a segmenter reads from what was fitted: the cut, the names, the confidence.

Heads that judge masks follow from all of these, so that they are fitted last. They are kept in the
cache beside the fits themselves.
"""

import contextlib
import hashlib
import threading

import torch

from factory.errors import FactoryError
from factory.fit.confidence import with_heads, without_heads
from factory.fit.context import Checkpoint, FitContext
from factory.fit.pixels.pool import ThreadedPixelPool, one_thread
from factory.fit.progress import OnProgress, Progress
from factory.generate.base import load_generator
from factory.generate.weights.find import LocalWeights
from factory.identity import digest_of
from factory.plan.identity import BYTES_VERSION, identity_of
from factory.segment.base import finish_segmenter
from factory.segment.methods import find_source_digests
from factory.spec import DatasetSpec, MethodSettings
from factory.store import LocalStore
from factory.store.cache import cache_folder


def finish_fit(
    fitted: bytes,
    dataset: DatasetSpec,
    weights: LocalWeights,
    *,
    device: torch.device,
    on_progress: OnProgress,
    stop: threading.Event | None = None,
    stored: bytes | None = None,
) -> bytes:
    """The segmenter file of `dataset`.

    Args:
        fitted: What was fitted; empty if the method fits nothing.
        dataset: Whose segmenter it is.
        weights: The generator's.
        device: Where to compute.
        on_progress: Is told how far the heads are.
        stop: Stops it when set.
        stored: The file that the dataset has already, if it does. If it differs by its heads alone, it
            is returned as it is: another processor fits them to other digits.

    Returns:
        The file; empty if the segmenter needs none.

    Raises:
        JobError: If `dataset` asks for something that the fit does not have, or its masks cannot be
            judged.
        Interrupted: If `stop` was set.
    """
    finished = _finished(fitted, dataset.segmenter)
    if dataset.segmenter.confidence == "margin":
        return finished
    if stored and finished and _is_same(stored, finished):
        return stored
    cached = find_finished(fitted, dataset, weights.sha256)
    if cached is not None:
        return cached
    progress = Progress(on_progress, stop or threading.Event())
    with one_thread(), torch.inference_mode():
        generator = load_generator(dataset.generator, weights.path, device=device)
        pool = ThreadedPixelPool(generator, dataset, device, num_fit_threads=1)
        checkpoint = Checkpoint(_cache(), "none")  # it takes seconds, and saves none
        context = FitContext(dataset, weights, pool, progress, checkpoint)
        try:
            return finish_in(context, fitted)
        finally:
            pool.close()


def finish_in(context: FitContext, fitted: bytes) -> bytes:
    """As `finish_fit`, for the dataset of a fit that is under way."""
    finished = _finished(fitted, context.dataset.segmenter)
    if context.dataset.segmenter.confidence == "margin":
        return finished
    data = with_heads(finished, context)
    with contextlib.suppress(FactoryError):  # a full or read-only home must not cost the run
        _cache().replace(_name(finished, context.dataset, context.weights.sha256), data)
    return data


def find_finished(fitted: bytes, dataset: DatasetSpec, weights_sha256: str) -> bytes | None:
    """The segmenter file, if it is known without fitting more; None if it is not."""
    finished = _finished(fitted, dataset.segmenter)
    if dataset.segmenter.confidence == "margin":
        return finished
    return _cache().read(_name(finished, dataset, weights_sha256))


def _finished(fitted: bytes, spec: MethodSettings) -> bytes:
    return finish_segmenter(fitted, spec, source="the fitted segmenter") if fitted else b""


def _is_same(stored: bytes, finished: bytes) -> bool:
    """Whether two files are equal but for heads that judge masks."""
    (ours, facts), (theirs, others) = without_heads(finished), without_heads(stored)
    return (
        facts == others
        and ours.keys() == theirs.keys()
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
    )


def _cache() -> LocalStore:
    return LocalStore(str(cache_folder("segmenters")))


def _name(finished: bytes, dataset: DatasetSpec, weights_sha256: str) -> str:
    key = {
        "bytes_version": BYTES_VERSION,
        "weights_sha256": weights_sha256,
        "generator": identity_of(dataset.generator),
        "segmenter": identity_of(dataset.segmenter),
        "finished": hashlib.sha256(finished).hexdigest(),
        "latents": identity_of(dataset.latents),
        "batch_size": dataset.batch_size,
        "sources": find_source_digests(dataset.segmenter),
    }
    return f"{digest_of(key)}.judged.safetensors"
