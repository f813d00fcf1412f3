"""A worker's process: set it up for speed, then build the maker that an order asks for."""

import ctypes
import sys
from contextlib import ExitStack

import torch

from factory.errors import WeightsError
from factory.generate.base import Generator, load_generator
from factory.generate.weights.find import find_weights
from factory.manifest.coverage import Coverage
from factory.manifest.labels import DatasetLabels, encode_labels
from factory.manifest.paths import LABELS_PATH
from factory.plan.targets import find_targets
from factory.run.base import WorkOrder
from factory.segment.base import (
    FittedSegmenter,
    Mergeable,
    instance_classes,
    load_segmenter,
)
from factory.shard import ShardMaker, ThreadCounts
from factory.spec import RunSpec
from factory.store import open_store

_GPU_ENCODERS = 4
_MALLOPT = {-1: -1, -4: 0, -8: 1}  # M_TRIM_THRESHOLD never, M_MMAP_MAX none, M_ARENA_MAX one


def configure_process(num_threads: int = 1) -> None:
    """Keep freed memory, and compute every operation on one thread.

    PyTorch frees and maps every large activation anew, and the page faults of the default allocator
    cost more than the arithmetic: nothing is mapped apart, nothing is given back, and all threads
    share one arena, because the arenas of other threads ignore the first two. One
    thread per operation makes sums independent of how many cores a machine has: cores are used by
    computing several batches side by side. Only a training, which promises no bytes across machines,
    may ask for more. Call it before the first large tensor.
    """
    try:
        libc = ctypes.CDLL(None)
        for parameter, value in _MALLOPT.items():
            libc.mallopt(parameter, value)
    except (OSError, AttributeError):
        pass  # another C library: slower, not wrong
    torch.set_num_threads(num_threads)


def device_of(run: RunSpec) -> torch.device:
    """Where a worker of `run` computes: on a GPU if it has a share of one."""
    return torch.device("cuda" if run.gpus_per_actor > 0 else "cpu")


def load_ordered(order: WorkOrder, device: torch.device) -> Generator:
    """The generator that an order names, from this machine's copy of the weights.

    Raises:
        WeightsError: If this machine has other weights than the driver.
        FactoryError: If the generator cannot be loaded here.
    """
    sys.path.extend(path for path in order.import_paths if path not in sys.path)
    weights = find_weights(order.dataset.generator)
    if weights.sha256 != order.weights_sha256:
        raise WeightsError(
            f"dataset.generator.weights: this worker has sha256 {weights.sha256[:16]}, the driver "
            f"{order.weights_sha256[:16]}; put the same file on every machine"
        )
    return load_generator(order.dataset.generator, weights.path, device=device)


def build_maker(order: WorkOrder) -> ShardMaker:
    """Load generator and segmenter, and make the maker.

    Raises:
        WeightsError: If this machine has other weights than the driver.
        JobError: If the job accepts samples by a class that the segmenter does not have, or aims at
            one that there is not.
        FactoryError: If generator or segmenter cannot be loaded here.
    """
    device = device_of(order.run)
    generator = load_ordered(order, device)
    store = open_store(order.output_uri, single_writer=order.single_writer, is_known=True)
    with ExitStack() as stack:
        fitted = None
        if order.segmenter_path:
            fitted = stack.enter_context(store.fetch(order.segmenter_path))
        segmenter = load_segmenter(order.dataset.segmenter, fitted, generator.facts, device)
    meaning = DatasetLabels(
        labels=list(segmenter.labels),
        coarser=list(segmenter.coarser) if isinstance(segmenter, Mergeable) else [],
        generator_classes=list(generator.facts.class_names),
        attribution=generator.facts.attribution,
        license=generator.facts.license,
        fitted_on=dict(segmenter.fitted_on) if isinstance(segmenter, FittedSegmenter) else {},
        instance_classes=instance_classes(segmenter),
    )
    if order.dataset.coverage is not None:  # a misspelt class ends the run before its first shard
        find_targets(order.dataset.coverage, meaning, Coverage())
    store.create(LABELS_PATH, encode_labels(meaning))
    is_gpu = device.type == "cuda"
    encoders = order.run.encode_threads
    if encoders == "auto":
        encoders = _GPU_ENCODERS if is_gpu else 0
    return ShardMaker(
        order.dataset,
        generator,
        segmenter,
        store,
        device=device,
        threads=ThreadCounts(1 if is_gpu else order.run.threads_per_actor, encoders),
        run_id=order.run_id,
    )
