"""A worker's process: set it up for speed, then build the maker that an order asks for."""

import ctypes
import sys
from contextlib import ExitStack

import torch

from factory.coverage import Coverage
from factory.errors import JobError, WeightsError
from factory.generate.base import load_generator
from factory.generate.weights import find_weights
from factory.manifest import LABELS_PATH, DatasetLabels, encode_labels
from factory.run.base import WorkOrder
from factory.segment.base import load_segmenter
from factory.shard import Crew, ShardMaker
from factory.spec import RunSpec
from factory.store import open_store
from factory.targets import find_targets

_GPU_ENCODERS = 4
_MALLOPT = {-1: -1, -4: 0, -8: 1}  # M_TRIM_THRESHOLD never, M_MMAP_MAX none, M_ARENA_MAX one


def settle_process() -> None:
    """Keep freed memory, and compute every operation on one thread.

    PyTorch frees and maps every large activation anew, and the page faults of the default allocator
    cost more than the arithmetic: nothing is mapped apart, nothing is given back, and all threads
    share one arena, because the arenas of other threads ignore the first two. One
    thread per operation makes sums independent of how many cores a machine has: cores are used by
    computing several batches side by side. Call it before the first large tensor.
    """
    try:
        libc = ctypes.CDLL(None)
        for parameter, value in _MALLOPT.items():
            libc.mallopt(parameter, value)
    except (OSError, AttributeError):
        pass  # another C library: slower, not wrong
    torch.set_num_threads(1)


def device_of(run: RunSpec) -> torch.device:
    """Where a worker of `run` computes: on a GPU if it has a share of one."""
    return torch.device("cuda" if run.gpus_per_actor > 0 else "cpu")


def build_maker(order: WorkOrder) -> ShardMaker:
    """Load generator and segmenter, and make the maker.

    Raises:
        WeightsError: If this machine has other weights than the driver.
        FactoryError: If generator or segmenter cannot be loaded here.
    """
    sys.path.extend(path for path in order.import_paths if path not in sys.path)
    device = device_of(order.run)
    weights = find_weights(order.dataset.generator)
    if weights.sha256 != order.weights_sha256:
        raise WeightsError(
            f"dataset.generator.weights: this worker has sha256 {weights.sha256[:16]}, the driver "
            f"{order.weights_sha256[:16]}; put the same file on every machine"
        )
    generator = load_generator(order.dataset.generator, weights.path, device=device)
    store = open_store(order.output_uri)
    with ExitStack() as stack:
        fitted = None
        if order.segmenter_path:
            fitted = stack.enter_context(store.fetch(order.segmenter_path))
        segmenter = load_segmenter(order.dataset.segmenter, fitted, generator.facts, device)
    meaning = DatasetLabels(
        labels=list(segmenter.labels),
        generator_classes=list(generator.facts.class_names),
        attribution=generator.facts.attribution,
        license=generator.facts.license,
    )
    _check_rules(order, meaning)
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
        crew=Crew(1 if is_gpu else order.run.threads_per_actor, encoders),
        run_id=order.run_id,
    )


def _check_rules(order: WorkOrder, meaning: DatasetLabels) -> None:
    if order.dataset.coverage is not None:
        find_targets(order.dataset.coverage, meaning, Coverage())
    num_classes = len(meaning.labels)
    unknown = [i for i in order.dataset.accept.class_share if not 0 <= i < num_classes]
    if unknown:
        raise JobError(
            f"dataset.accept.class_share: found class {unknown[0]}; the segmenter has classes 0 to "
            f"{num_classes - 1}"
        )
