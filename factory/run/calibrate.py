"""`python -m factory.run.calibrate`: time a few batches of the job given on standard input.

It runs in a process of its own, set up like a worker's, and prints one JSON object. Without a fitted
segmenter it measures a random one of the expected shape (`fit.cost`).
"""

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch

from factory.edit.cost import measure_edits, measure_search
from factory.edit.pairs import PairEditor
from factory.edit.search import LayoutSampler
from factory.errors import FactoryError, JobError, MissingWeightsError, ShardError
from factory.fit.annotations.classes import make_labels
from factory.fit.confidence import NUM_IMAGES
from factory.fit.cost import Probe, fit_seconds, load_fitted, load_stand_in
from factory.fit.fitted import needs_fitting
from factory.generate.latents import LatentSampler
from factory.generate.weights.fetch import must_download
from factory.generate.weights.find import find_weights
from factory.make.accept import AcceptRules, find_rules, reason_to_drop
from factory.make.class_names import check_class_names
from factory.make.compute import compute_samples
from factory.make.encoding import check_encoding
from factory.make.machine import device_name
from factory.make.memory import Room
from factory.make.warm import load_fused
from factory.pack.packing import encode_batch
from factory.run.backgrounds import check_folder_of_backgrounds, given_composer
from factory.run.blank import warn_of_blank
from factory.run.edits import make_change_of, pretend_edit
from factory.run.fitting import num_fit_threads
from factory.run.gpu_memory import find_card, peak_bytes
from factory.run.job_folder import find_fit
from factory.run.layouts import check_edited_masks, check_search, read_wanted, warn_of_missing
from factory.run.opinions import check_others
from factory.run.other_cost import OthersCost, probe_others
from factory.run.target_costs import TargetCost, measure_targets
from factory.run.worker import claim_device, configure_process
from factory.segment.base import AnySegmenter, count_passes, generate_and_segment
from factory.segment.clean_losses import find_losses
from factory.segment.methods import check_methods, find_doubts, find_method
from factory.segment.opinions import ComparedSegmenter
from factory.segment.segmenter_file import decode_segmenter
from factory.spec import DatasetSpec, JobSpec

_BATCHES, _TAR_BLOCK = 3, 512


def calibrate(spec: JobSpec) -> dict[str, Any]:
    """Measure pairs per second of one worker and bytes per pair, and forecast seconds for the fit.

    The seconds are None if the method cannot forecast its fit, and so is the share of pairs that are
    accepted before there is a fit.

    Raises:
        JobError: If a fitted file or labels are not for this job, or a class has no such name.
        FactoryError: If generator or segmenter cannot be loaded on this machine.
    """
    dataset = spec.dataset
    _check(dataset)
    device = claim_device(spec.run)
    weights = find_weights(dataset.generator)
    generator = load_fused(dataset, weights.path, device)
    check_encoding(dataset, generator)
    probe = Probe(dataset, generator, device, num_fit_threads(spec))
    fitted, finished = find_fit(spec, weights.sha256)
    warnings = list(weights.warnings)
    others = probe_others(probe, weights.sha256)
    if fitted is None:
        measured = _measure_unfitted(probe, others)
    else:
        segmenter, rules = _load(probe, fitted, finished, weights.sha256)
        measured = _measure(probe, segmenter, others, rules)
        warnings += find_losses(dataset, generator, segmenter)
    warnings += [*measured.warnings, *measured.search.warnings, *others.warnings]
    if fitted:
        warnings += find_doubts(dataset.segmenter, fitted)
    fit_s = fit_seconds(probe, measured.batch_s) if fitted is None else 0.0
    if finished is None and dataset.segmenter.confidence == "agreement" and fit_s is not None:
        fit_s += probe.batches_s(NUM_IMAGES, measured.batch_s)
    others_s = others.fit_s(probe, measured.batch_s)
    fit_s = None if fit_s is None or others_s is None else fit_s + others_s
    rate = dataset.samples_per_batch * spec.run.threads_per_actor / measured.pair_batch_s
    return {
        "pairs_per_s": rate,
        "search_bytes": measured.search.memory_bytes * spec.run.threads_per_actor,
        "bytes_per_pair": measured.num_bytes / dataset.samples_per_batch,
        "accepted_share": measured.accepted_share,
        "rejected": measured.rejected,
        "passes_per_pair": measured.passes,
        "fit_s": fit_s,
        "resolution_px": generator.facts.resolution,
        "device": device_name(device),
        "worker_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **_gpu_memory(device),
        "targets": [asdict(target) for target in measured.targets],
        "warnings": warnings,
    }


def _gpu_memory(device: torch.device) -> dict[str, int | None]:
    """What this process took of a GPU's memory, and how many such workers one has room for."""
    if device.type != "cuda":
        return {"gpu_bytes": None, "workers_per_gpu": None}
    taken = peak_bytes()
    return {"gpu_bytes": taken, "workers_per_gpu": find_card().workers_that_fit(taken)}


def _check(dataset: DatasetSpec) -> None:
    """Refuse at once what needs no generator to be refused.

    Raises:
        FactoryError: If there is something.
    """
    check_methods(dataset.segmenter)
    if must_download(dataset.generator):
        raise MissingWeightsError(
            f"dataset.generator.weights: {dataset.generator.weights} is not on this machine yet; "
            "`factory fit` or `factory run` fetch it"
        )
    check_others(dataset)
    check_search(dataset)
    check_folder_of_backgrounds(dataset)


def _load(
    probe: Probe, fitted: bytes, finished: bytes | None, weights_sha256: str
) -> tuple[AnySegmenter, AcceptRules]:
    dataset = probe.dataset
    if finished:
        facts = decode_segmenter(finished, source="the fitted segmenter")[1]
        check_class_names(dataset, facts.labels)
    segmenter = load_fitted(probe, fitted, finished)
    check_edited_masks(dataset, probe.generator, segmenter, (weights_sha256, finished))
    return segmenter, find_rules(dataset.accept, segmenter.labels)


@dataclass(frozen=True, slots=True)
class _Search:
    """What the search for layouts adds to each batch."""

    batch_s: float = 0.0
    num_forwards: int = 1
    memory_bytes: int = 0
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Measured:
    """What some batches took and gave."""

    batch_s: float
    """Seconds per batch on one thread, without a search."""
    num_bytes: int
    """Bytes per batch."""
    passes: float | None
    """Forward passes of the generator for a pair; None if the segmenter does not say."""
    accepted_share: float | None = None
    """Share of the pairs that are accepted; None if that is not known."""
    rejected: dict[str, int] = field(default_factory=dict)
    """The others by reason."""
    warnings: Sequence[str] = ()
    """About the last images."""
    search: _Search = _Search()
    """What a search adds."""
    targets: Sequence[TargetCost] = ()
    """What samples for coverage targets cost; none if there are none, or nothing is fitted yet."""

    @property
    def pair_batch_s(self) -> float:
        """Seconds per batch on one thread, with the search."""
        return self.batch_s + self.search.batch_s


def _measure_search(
    probe: Probe, segmenter: AnySegmenter, plain_s: float, *, is_fitted: bool
) -> _Search:
    """Measure the search, if there is one.

    Raises:
        JobError: If its layouts cannot be used, or generator or segmenter cannot be searched with.
    """
    dataset, generator = probe.dataset, probe.generator
    spec = dataset.sampling
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    latents = sampler.draw(range(dataset.batch_size))
    if dataset.edit is not None:
        PairEditor(dataset.edit, generator, segmenter)  # it may refuse
        _, labelled = generate_and_segment(generator, segmenter, latents)
        cost = measure_edits(dataset.edit, generator, segmenter, latents, labelled.masks.long())
        return _Search(cost.batch_s, cost.num_forwards, cost.memory_bytes)
    if spec is None:
        return _Search()
    LayoutSampler(spec, generator, segmenter, sampler)  # it may refuse
    warnings = []
    # The classes of clusters have no names before they are fitted, those of painted pictures have.
    named = getattr(dataset.segmenter, "classes", None)
    labels = segmenter.labels if is_fitted else make_labels(named) if named else ()
    if labels:
        layouts = read_wanted(spec, labels, generator.facts.resolution)
        warnings = warn_of_missing(layouts, labels)
    _, labelled = generate_and_segment(generator, segmenter, latents)
    cost = measure_search(spec, generator, segmenter, latents, labelled.masks.long(), plain_s)
    return _Search(cost.batch_s, cost.num_forwards, cost.memory_bytes, warnings)


def _measure(
    probe: Probe, segmenter: AnySegmenter, others: OthersCost, rules: AcceptRules | None = None
) -> _Measured:
    """Measure a few batches; without `rules` nothing is said of what is accepted."""
    if others.opinions:
        segmenter = ComparedSegmenter(segmenter, others.opinions)
    if rules is not None:
        rules = replace(rules, min_agreement=0.0)  # classes are not matched yet
    dataset, generator, size = probe.dataset, probe.generator, probe.dataset.samples_per_batch
    sampler = LatentSampler(generator, dataset.latents, dataset.generator)
    composer = given_composer(dataset, segmenter.labels, generator) if rules is not None else None
    times, num_bytes, reasons = [], 0, Counter[str]()
    for batch in range(1 + _BATCHES):
        started = time.perf_counter()
        latents = sampler.draw(range(batch * size, batch * size + dataset.batch_size))
        made = partial(compute_samples, generator, segmenter, latents, size, dataset.encode)
        samples = Room(dataset, generator, segmenter, probe.device).call(partial(made, composer))
        if dataset.edit is not None:
            change = make_change_of(dataset, segmenter.labels) if rules is not None else None
            samples = [pretend_edit(sample, change) for sample in samples]
        names = generator.facts.class_names
        encoded = encode_batch(samples, dataset.encode, dataset_id="0" * 16, class_names=names)
        times.append(time.perf_counter() - started)
        files = [data for sample in encoded for _, data in sample.files]
        num_bytes = sum((1 + -(-len(data) // _TAR_BLOCK)) * _TAR_BLOCK for data in files)
        if rules is not None:
            reasons.update(reason_to_drop(sample, rules) or "" for sample in samples)
    accepted = reasons.pop("", 0)
    tried = accepted + reasons.total()
    batch_s = sum(times[1:]) / _BATCHES  # the first batch warms everything up
    search = _measure_search(probe, segmenter, batch_s, is_fitted=rules is not None)
    passes, per_pair = count_passes(segmenter), dataset.batch_size / size
    # Nothing is known of the acceptance of samples that are searched: these were drawn.
    is_known = bool(tried) and dataset.sampling is None
    return _Measured(
        batch_s=batch_s,
        num_bytes=num_bytes,
        passes=None if passes is None else passes * search.num_forwards * per_pair,
        accepted_share=accepted / tried if is_known else None,
        search=search,
        targets=measure_targets(probe, segmenter, rules) if rules is not None else (),
        rejected=dict(reasons.most_common()),
        warnings=warn_of_blank([sample.measures for sample in encoded]),
    )


def _measure_unfitted(probe: Probe, others: OthersCost) -> _Measured:
    """As `_measure`, with a stand-in for a segmenter that is not fitted yet.

    Raises:
        FactoryError: If nothing is known that could be in its place.
    """
    kind = probe.dataset.segmenter.kind
    try:
        return _measure(probe, load_stand_in(probe), others)
    except ShardError as error:  # NaN in features, say: a run would end in its fit
        raise JobError(str(error)) from error
    except FactoryError:
        raise
    except Exception as error:
        if find_method(kind).cost or not needs_fitting(probe.dataset):
            raise
        # The method has not said what its file looks like, and a linear head is not it.
        raise FactoryError(
            f"segmenter {kind!r}: cannot be timed before it is fitted, for its method names no cost "
            f"({type(error).__name__}: {error}); run `factory fit` first"
        ) from error


def main() -> None:
    """Read a job from standard input, and print the measurements."""
    spec = JobSpec.model_validate_json(sys.stdin.read())
    configure_process()
    try:
        # Not inference mode: gradients cannot flow through tensors that were loaded in it.
        with torch.no_grad():
            answer = dict(calibrate(spec))
    except FactoryError as error:
        answer = error.facts()
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
