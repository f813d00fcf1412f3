"""Set up a worker's process, and build its shard maker."""

import ctypes
import sys
from contextlib import ExitStack

import torch

from factory.errors import WeightsError
from factory.generate.base import Generator, GeneratorFacts, load_generator
from factory.generate.traced import trace_synthesis
from factory.generate.weights.find import find_weights
from factory.make.threads import ThreadCounts
from factory.make.warm import warm_up
from factory.manifest.coverage import Coverage
from factory.manifest.labels import DatasetLabels, encode_labels
from factory.manifest.paths import LABELS_PATH
from factory.pack.pieces import LEAST_PX
from factory.plan.targets import find_targets
from factory.run.base import WorkerConfig
from factory.run.devices import gpu_share, no_gpu_here, num_encoders
from factory.run.gpu_memory import limit_memory
from factory.segment.base import (
    AnySegmenter,
    FittedSegmenter,
    Mergeable,
    instance_classes,
    load_segmenter,
)
from factory.segment.clean_losses import find_losses
from factory.segment.methods import find_doubts
from factory.segment.opinions import ComparedSegmenter, load_opinions
from factory.shard import ShardMaker
from factory.spec import RunSpec
from factory.store import Store, open_store

_MALLOPT = {-1: -1, -4: 0, -8: 1}  # M_TRIM_THRESHOLD never, M_MMAP_MAX none, M_ARENA_MAX one


def configure_process(num_threads: int = 1) -> None:
    """Keep freed memory in the process, and compute every operation on one thread.

    PyTorch frees and allocates large activations for every operation, and with glibc's defaults the
    page faults cost more than the arithmetic: so nothing is mapped separately, nothing is returned
    to the system, and all threads share one arena, because the arenas of other threads ignore the
    first two settings. One thread per operation makes sums independent of the number of cores;
    cores are used by computing several batches concurrently. Only training, whose bytes are not
    reproducible across machines, may use more. Call it before the first large tensor is allocated.
    """
    try:
        libc = ctypes.CDLL(None)
        for parameter, value in _MALLOPT.items():
            libc.mallopt(parameter, value)
    except (OSError, AttributeError):
        pass  # another C library than glibc: slower, but correct
    torch.set_num_threads(num_threads)


def device_of(run: RunSpec) -> torch.device:
    """The device of workers: a GPU if `run` assigns a share of one, or finds one here."""
    return torch.device("cuda" if gpu_share(run) > 0 else "cpu")


def claim_device(run: RunSpec) -> torch.device:
    """The device of this process, a worker; of a GPU's memory it takes its share at most from now on.

    Raises:
        PluginError: If it is a GPU, and there is none.
        JobError: If its share of the memory is less than CUDA itself takes.
    """
    device = _check_here(device_of(run))
    if device.type == "cuda":
        limit_memory(gpu_share(run))
    return device


def device_here(run: RunSpec) -> torch.device:
    """The device of this process, which is no worker: for small fits, samples and pages.

    The GPUs of a cluster are not in the driver's machine; without any, it computes on the CPU.

    Raises:
        PluginError: If `run` asks for a GPU of this machine, and there is none.
    """
    device = device_of(run)
    if run.address is not None and not torch.cuda.is_available():
        return torch.device("cpu")
    return _check_here(device)


def _check_here(device: torch.device) -> torch.device:
    if device.type == "cuda" and not torch.cuda.is_available():
        raise no_gpu_here()
    return device


def load_configured_generator(config: WorkerConfig, device: torch.device) -> Generator:
    """Load the generator of a config from this machine's copy of the weights.

    Raises:
        WeightsError: If this machine has other weights than the driver.
        FactoryError: If the generator cannot be loaded here.
    """
    sys.path.extend(path for path in config.import_paths if path not in sys.path)
    weights = find_weights(config.dataset.generator)
    if weights.sha256 != config.weights_sha256:
        raise WeightsError(
            f"dataset.generator.weights: this worker has sha256 {weights.sha256[:16]}, the driver "
            f"{config.weights_sha256[:16]}; put the same file on every machine"
        )
    return load_generator(config.dataset.generator, weights.path, device=device)


def _load_segmenter(
    config: WorkerConfig, store: Store, facts: GeneratorFacts, device: torch.device
) -> tuple[AnySegmenter, list[str]]:
    """The segmenter of a config, with the opinions it is compared with, and the doubts about its fit."""
    with ExitStack() as stack:
        fitted = None
        if config.segmenter_path:
            fitted = stack.enter_context(store.fetch(config.segmenter_path))
        segmenter: AnySegmenter
        segmenter = load_segmenter(config.dataset.segmenter, fitted, facts, device)
        if config.dataset.agreement is not None:
            opinions = load_opinions(store, config.dataset.agreement, facts, device)
            segmenter = ComparedSegmenter(segmenter, opinions)
        doubts = find_doubts(config.dataset.segmenter, fitted.read_bytes()) if fitted else []
    return segmenter, doubts


def build_maker(config: WorkerConfig) -> ShardMaker:
    """Load generator and segmenter, and build the shard maker.

    Raises:
        WeightsError: If this machine has other weights than the driver.
        JobError: If the job accepts samples by a class that the segmenter does not have, or has a
            coverage target for an unknown class.
        FactoryError: If generator or segmenter cannot be loaded here, or there is no GPU.
    """
    device = claim_device(config.run)
    generator = load_configured_generator(config, device)
    store = open_store(config.output_uri, single_writer=config.single_writer, is_known=True)
    segmenter, doubts = _load_segmenter(config, store, generator.facts, device)
    if store.read(LABELS_PATH) is None:  # only then are they written
        doubts += find_losses(config.dataset, generator, segmenter)
    meaning = DatasetLabels(
        labels=list(segmenter.labels),
        coarser=list(segmenter.coarser) if isinstance(segmenter, Mergeable) else [],
        generator_classes=list(generator.facts.class_names),
        attribution=generator.facts.attribution,
        license=generator.facts.license,
        fitted_on=dict(segmenter.fitted_on) if isinstance(segmenter, FittedSegmenter) else {},
        instance_classes=instance_classes(segmenter),
        doubts=doubts,
    )
    if config.dataset.coverage is not None:  # a misspelt class ends the run before its first shard
        find_targets(config.dataset.coverage, meaning, Coverage())
    store.create(LABELS_PATH, encode_labels(meaning))
    if device.type == "cuda":
        warm_up(config.dataset, generator, segmenter, device)
    trace_synthesis(generator, config.dataset.batch_size, device)
    return ShardMaker(
        config.dataset,
        generator,
        segmenter,
        store,
        device=device,
        threads=_threads_of(config, device, generator.facts.resolution),
        run_id=config.run_id,
    )


def _threads_of(config: WorkerConfig, device: torch.device, side: int) -> ThreadCounts:
    is_gpu = device.type == "cuda"
    encoders = num_encoders(
        config.run,
        is_gpu=is_gpu,
        num_workers=config.workers_per_machine,
        is_small=config.dataset.batch_size * side**2 < LEAST_PX,
    )
    return ThreadCounts(1 if is_gpu else config.run.threads_per_actor, encoders)
