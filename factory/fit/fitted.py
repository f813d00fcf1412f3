"""Find the fitted segmenter of a dataset in the cache, or fit it: same inputs, same file."""

from collections.abc import Callable

import torch

from factory.cache import cache_folder
from factory.errors import FactoryError, PluginError
from factory.fit import FITTERS, is_fitted, load_fitter
from factory.generate.base import load_generator
from factory.generate.weights import LocalWeights
from factory.identity import digest_of
from factory.plan import BYTES_VERSION
from factory.segment import SEGMENTERS
from factory.spec import DatasetSpec
from factory.store import LocalStore


def needs_fitting(dataset: DatasetSpec) -> bool:
    """Whether the dataset's segmenter has to be fitted before it can make masks."""
    return is_fitted(dataset.segmenter)


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
    on_progress: Callable[[int, int], None],
) -> bytes:
    """Fit the dataset's segmenter, keep it in the cache, and return the file.

    `on_progress` is called with (images done, images in all).

    Raises:
        JobError: If the settings do not fit the generator.
        PluginError: If the kind is not one that is fitted.
    """
    kind = dataset.segmenter.kind
    if not needs_fitting(dataset):
        raise PluginError(
            f"segmenter {kind!r}: there is nothing to fit; known: {', '.join(FITTERS)}"
        )
    fit = load_fitter(kind)
    with torch.inference_mode():
        generator = load_generator(dataset.generator, weights.path, device=device)
        data = fit(
            dataset.segmenter,
            dataset,
            generator,
            weights_sha256=weights.sha256,
            on_progress=on_progress,
        )
    try:
        _cache().replace(_cache_name(dataset, weights.sha256), data)
    except FactoryError:
        return data  # the cache saves time; a full or read-only home must not cost the run
    return data


def _cache() -> LocalStore:
    return LocalStore(str(cache_folder("segmenters")))


def _cache_name(dataset: DatasetSpec, weights_sha256: str) -> str:
    return f"{fit_key(dataset, weights_sha256)}.safetensors"
