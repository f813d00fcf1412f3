"""The dataset in the text format of Prometheus (exposition format 0.0.4)."""

from collections.abc import Iterator, Sequence

from factory.serve.facts import describe_coverage, summarize
from factory.serve.view import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[dict[str, str], float]


def encode_metrics(snapshot: Snapshot) -> str:
    """Every number a dashboard or an alert would want; counters end in `_total`."""
    return "".join(line + "\n" for line in _lines(snapshot))


def _lines(snapshot: Snapshot) -> Iterator[str]:
    summary, covered = summarize(snapshot), describe_coverage(snapshot)
    one: dict[str, str] = {}
    dataset = {"name": summary.name, "dataset_id": summary.dataset_id}
    yield from _metric("dataset_info", "gauge", "Which dataset this is.", [(dataset, 1)])
    shards = [({"state": state}, count) for state, count in summary.shards.items()]
    yield from _metric("shards", "gauge", "Shards by state.", shards)
    yield from _metric(
        "samples_planned", "gauge", "Samples asked for.", [(one, summary.samples_planned)]
    )
    yield from _metric(
        "samples_total", "counter", "Samples committed.", [(one, summary.samples_committed)]
    )
    rejected = [({"reason": reason}, n) for reason, n in summary.images_rejected.items()]
    yield from _metric("rejected_total", "counter", "Images not kept, by reason.", rejected)
    yield from _metric(
        "bytes_total", "counter", "Bytes of committed shards.", [(one, summary.bytes)]
    )
    yield from _metric(
        "pairs_per_second",
        "gauge",
        "Samples per second over the latest commits.",
        [(one, summary.pairs_per_s)],
    )
    images = [({"class": c.name}, c.images) for c in covered.mask_classes]
    yield from _metric("class_samples_total", "counter", "Samples that hold a mask class.", images)
    pixels = [({"class": c.name}, c.pixels) for c in covered.mask_classes]
    yield from _metric("class_pixels_total", "counter", "Pixels of a mask class.", pixels)
    kept = [({"class": c.name}, c.kept) for c in covered.generator_classes]
    yield from _metric(
        "generator_samples_total", "counter", "Samples of a generator's class.", kept
    )
    for curve in covered.curves:
        quantiles = zip(("0.05", "0.25", "0.5", "0.75", "0.95"), curve.quantiles, strict=True)
        yield from _metric(
            f"sample_{curve.name}",
            "gauge",
            f"Quantiles of the samples' {curve.name}.",
            [({"quantile": share}, value) for share, value in quantiles],
        )
    latent = covered.latent
    yield from _metric(
        "latent_evenness",
        "gauge",
        "1 = latents are visited as evenly as fair draws.",
        [(one, latent.cell_evenness)],
    )
    yield from _metric(
        "duplicate_rate",
        "gauge",
        "Samples whose perceptual hash an earlier one has.",
        [(one, latent.duplicate_rate)],
    )
    wanted = [({"target": t.name}, t.wanted) for t in covered.targets]
    yield from _metric("target_wanted", "gauge", "Samples that a target asks for.", wanted)
    have = [({"target": t.name}, t.have) for t in covered.targets]
    yield from _metric("target_have", "gauge", "Samples that serve a target.", have)
    yield from _metric(
        "budget_left_images", "gauge", "Images left of the budget.", [(one, covered.budget_left)]
    )


def _metric(name: str, kind: str, text: str, samples: Sequence[_Sample]) -> Iterator[str]:
    full = f"factory_{name}"
    yield f"# HELP {full} {text}"
    yield f"# TYPE {full} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        yield f"{full}{{{inside}}} {value}" if inside else f"{full} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
