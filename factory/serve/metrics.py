"""Metrics in the text format of Prometheus (exposition format 0.0.4)."""

from collections.abc import Iterator, Mapping, Sequence

from factory.serve.facts import QUANTILES, describe_coverage, summarize
from factory.serve.view import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[Mapping[str, str], int | float]
_Family = tuple[str, str, str, Sequence[_Sample]]


def encode_metrics(snapshot: Snapshot) -> str:
    """Encode all metrics for dashboards and alerts; names of counters end in `_total`."""
    return "".join(line + "\n" for line in _lines(snapshot))


def _lines(snapshot: Snapshot) -> Iterator[str]:
    for name, kind, text, samples in [*_progress(snapshot), *_coverage(snapshot)]:
        yield from _metric(name, kind, text, samples)


def _progress(snapshot: Snapshot) -> list[_Family]:
    summary = summarize(snapshot)
    dataset = {"name": summary.name, "dataset_id": summary.dataset_id}
    shards: list[_Sample] = [({"state": state}, n) for state, n in summary.shards.items()]
    rejected: list[_Sample] = [({"reason": why}, n) for why, n in summary.images_rejected.items()]
    committed, rate = summary.samples_committed, summary.pairs_per_s
    return [
        ("dataset_info", "gauge", "Identity of the dataset.", [(dataset, 1)]),
        ("shards", "gauge", "Shards by state.", shards),
        ("samples_planned", "gauge", "Samples planned.", [({}, summary.samples_planned)]),
        ("samples_total", "counter", "Samples committed.", [({}, committed)]),
        ("rejected_total", "counter", "Rejected images by reason.", rejected),
        ("bytes_total", "counter", "Bytes of committed shards.", [({}, summary.bytes)]),
        ("pairs_per_second", "gauge", "Samples per second of the latest commits.", [({}, rate)]),
    ]


def _coverage(snapshot: Snapshot) -> list[_Family]:
    covered = describe_coverage(snapshot)
    masks, classes, latent = covered.mask_classes, covered.generator_classes, covered.latent
    images: list[_Sample] = [({"class": c.name}, c.images) for c in masks]
    pixels: list[_Sample] = [({"class": c.name}, c.pixels) for c in masks]
    kept: list[_Sample] = [({"class": c.name}, c.kept) for c in classes]
    wanted: list[_Sample] = [({"target": t.name}, t.wanted) for t in covered.targets]
    have: list[_Sample] = [({"target": t.name}, t.have) for t in covered.targets]
    families: list[_Family] = [
        ("class_samples_total", "counter", "Samples that contain a mask class.", images),
        ("class_pixels_total", "counter", "Pixels of a mask class.", pixels),
        ("generator_samples_total", "counter", "Samples of a generator's class.", kept),
        (
            "latent_evenness",
            "gauge",
            "1 = as even as independent draws.",
            [({}, latent.cell_evenness)],
        ),
        (
            "duplicate_rate",
            "gauge",
            "Share of samples similar to another.",
            [({}, latent.duplicate_rate)],
        ),
        ("target_wanted", "gauge", "Samples required by a target.", wanted),
        ("target_have", "gauge", "Samples that count for a target.", have),
        ("budget_left_images", "gauge", "Images left of the budget.", [({}, covered.budget_left)]),
    ]
    for curve in covered.curves:
        pairs = zip(QUANTILES, curve.quantiles, strict=True)
        quantiles: list[_Sample] = [({"quantile": str(share)}, value) for share, value in pairs]
        families.append((f"sample_{curve.name}", "gauge", "Quantiles over samples.", quantiles))
    return families


def _metric(name: str, kind: str, text: str, samples: Sequence[_Sample]) -> Iterator[str]:
    full = f"factory_{name}"
    yield f"# HELP {full} {text}"
    yield f"# TYPE {full} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        yield f"{full}{{{inside}}} {value}" if inside else f"{full} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
