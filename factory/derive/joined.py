"""What a dataset that is made of others is: its identity, its plan and its label table."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.derive.rule import Chosen, Rule, Source
from factory.errors import JobError
from factory.manifest.labels import DatasetLabels
from factory.plan.identity import BYTES_VERSION, dataset_id_of
from factory.plan.rounds import Plan, Round
from factory.redact import redact_values

SEVERAL = "several"
"""In place of a kind of generator or segmenter, if the sources differ."""

_UNNAMED = re.compile(r"cluster_\d+")
_HOW_MADE, _NOT_COPIED = ("sampling", "edit"), "layouts_sha256"


@dataclass(frozen=True, slots=True)
class Joined:
    """A dataset that is made of others, before it is written."""

    identity: dict[str, Any]
    plan: Plan
    labels: DatasetLabels
    generator_class: list[dict[int, int]]
    """For each source: its generator's class by number, as a number in the joined table."""


def join(
    sources: Sequence[Source],
    chosen: Mapping[str, Sequence[Chosen]],
    rule: Rule,
    *,
    name: str,
    samples_per_shard: int,
) -> Joined:
    """Join the sources.

    Raises:
        JobError: If nothing is chosen, or the sources do not fit each other.
    """
    if not any(chosen.values()):
        raise JobError(
            where="rule",
            found="no sample obeys it",
            remedy="loosen it; `factory status` counts the samples of each class",
        )
    _check_alike(sources)
    first = sources[0].manifest
    identity: dict[str, Any] = {
        "bytes_version": BYTES_VERSION,
        "name": name,
        "samples_per_shard": samples_per_shard,
        "generator": _common(sources, "generator", "weights_sha256"),
        # The fitted file is not copied: it makes no sample here.
        "segmenter": _common(sources, "segmenter", "sha256") | {"sha256": ""},
        "encode": first.identity["encode"],
        "derived": {
            "rule": rule.plain(),
            "sources": [
                {
                    "dataset_id": source.manifest.dataset_id,
                    "receipts_sha256": _digest(source),
                    "identity": source.manifest.identity,
                }
                for source in sources
            ],
        },
    }
    identity |= {name: _copied(sources, name) for name in _HOW_MADE if _has(first.identity, name)}
    identity = redact_values(identity)
    labels, numbers = _join_labels(sources)
    return Joined(identity, _plan(identity, chosen, name, samples_per_shard), labels, numbers)


def _plan(
    identity: dict[str, Any], chosen: Mapping[str, Sequence[Chosen]], name: str, per_shard: int
) -> Plan:
    """A round for each split that has samples; indices count through all of them."""
    rounds: list[Round] = []
    for split, inside in chosen.items():
        if not inside:
            continue
        last = rounds[-1] if rounds else None
        rounds.append(
            Round(
                dataset_id=dataset_id_of(identity),
                name=name,
                round_index=len(rounds),
                first_shard=last.first_shard + last.num_shards if last else 0,
                first_index=last.end_index if last else 0,
                num_samples=len(inside),
                samples_per_shard=per_shard,
                oversample=1,
                identity=identity,
                split=split,
            )
        )
    return Plan(dataset_id_of(identity), tuple(rounds))


def _digest(source: Source) -> str:
    """Which shards of a source were there: it may have grown since."""
    digests = "".join(record.sha256 for record in source.manifest.records)
    return hashlib.sha256(digests.encode()).hexdigest()


def _common(sources: Sequence[Source], section: str, digest: str = "") -> dict[str, Any]:
    """A section of the identity that all sources share; else that there are several."""
    sections = [source.manifest.identity[section] for source in sources]
    if all(other == sections[0] for other in sections):
        common: dict[str, Any] = dict(sections[0])
        return common
    # What the confidence of a sample means is needed to verify it, and equal in all of them.
    told = {key: sections[0][key] for key in ("confidence",) if key in sections[0]}
    return {"kind": SEVERAL} | ({digest: ""} if digest else {}) | told


def _has(identity: Mapping[str, Any], section: str) -> bool:
    """Whether a dataset, which anybody may have written, has a section."""
    return isinstance(identity.get(section), Mapping)


def _copied(sources: Sequence[Source], section: str) -> dict[str, Any]:
    """A section about how samples were made, which says what files and facts they have.

    Its digest is of a file that is not copied.
    """
    return {k: v for k, v in _common(sources, section).items() if k != _NOT_COPIED}


def _check_alike(sources: Sequence[Source]) -> None:
    first = sources[0]
    for other in sources[1:]:
        for what, value in _traits(first).items():
            found = _traits(other)[what]
            if found != value:
                raise JobError(
                    where=other.store.uri,
                    found=f"its {what}: {found}",
                    allowed=f"those of {first.store.uri}: {value}",
                    remedy="merge only datasets whose samples mean the same",
                )


def _traits(source: Source) -> dict[str, Any]:
    """What must be equal in datasets that are merged."""
    identity, meaning = source.manifest.identity, source.manifest.meaning
    encode, segmenter = identity["encode"], identity["segmenter"]
    return {
        "mask classes": [label.name for label in meaning.labels],
        "instance classes": meaning.instance_classes,
        "image format": encode["image"],
        "fit of classes that nobody named": _fit_of_unnamed(source),
        "confidence maps": encode.get("confidence", False),
        "alpha maps": encode.get("alpha", False),
        "meaning of confidence": segmenter.get("confidence", "margin"),
        "clean-up of masks": "clean" in segmenter,
        "wanted layouts": _has(identity, "sampling"),
        "edited pairs": _has(identity, "edit"),
    }


def _fit_of_unnamed(source: Source) -> list[str]:
    """Digests of the fits that numbered a source's classes: another fit's cluster 1 differs."""
    names = [label.name for label in source.manifest.meaning.labels]
    if not any(_UNNAMED.fullmatch(name) for name in names):
        return []
    return sorted(set(_fits(source.manifest.identity)))


def _fits(identity: Mapping[str, Any]) -> Iterator[str]:
    """Digests of what a dataset's masks come from; of copies, those of their sources."""
    copied = identity["derived"].get("sources") if _has(identity, "derived") else None
    if not isinstance(copied, list):
        yield str(identity["segmenter"].get("sha256", ""))[:16]
        return
    for source in copied:
        if isinstance(source, Mapping) and _has(source, "identity"):
            yield from _fits(source["identity"])


def _join_labels(sources: Sequence[Source]) -> tuple[DatasetLabels, list[dict[int, int]]]:
    """The label table, with the classes of all generators, and the new number of each class."""
    tables = [source.manifest.meaning for source in sources]
    names = list(dict.fromkeys(name for table in tables for name in table.generator_classes))
    numbers = [
        {old: names.index(name) for old, name in enumerate(table.generator_classes)}
        for table in tables
    ]
    update = {
        "generator_classes": names,
        "coarser": tables[0].coarser if len({repr(t.coarser) for t in tables}) == 1 else [],
        "attribution": "; ".join(dict.fromkeys(t.attribution for t in tables if t.attribution)),
        "license": " AND ".join(dict.fromkeys(t.license for t in tables if t.license)),
        "doubts": list(dict.fromkeys(doubt for table in tables for doubt in table.doubts)),
        "fitted_on": tables[0].fitted_on if len(tables) == 1 else {},
    }
    return tables[0].model_copy(update=update), numbers
