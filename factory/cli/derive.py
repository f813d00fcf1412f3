"""The commands that make a dataset of other datasets: `subset` and `merge`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.shared import AsJson, Where, find_store, one_line_errors, print_json, say

if TYPE_CHECKING:
    from factory.derive.key_list import KeyList
    from factory.derive.rule import Rule
    from factory.manifest.records import Manifest

Output = Annotated[str, typer.Option("-o", "--output", help="Folder or URI of the new dataset.")]
Name = Annotated[str, typer.Option(help="Its name; by default that of the first source.")]
PerShard = Annotated[int, typer.Option(min=1, max=10**6, help="Samples per tar.")]
Classes = Annotated[
    list[str] | None,
    typer.Option("--class", help="Only samples that contain this mask class; may be repeated."),
]
Area = Annotated[
    list[str] | None,
    typer.Option(
        help="Only samples in which a class has such a share of the mask: 'nucleus=0.05..0.6'; may be "
        "repeated."
    ),
]
MinConfidence = Annotated[float, typer.Option(help="Only samples of at least this confidence.")]
MinAgreement = Annotated[
    float,
    typer.Option(help="Only samples whose mask agrees so much with other methods' masks."),
]
WithoutRepeats = Annotated[
    bool,
    typer.Option(
        "--without-repeats",
        help="Drop samples whose perceptual hash differs from that of an earlier one in at most 4 of 64 "
        "bits.",
    ),
]
WithoutKeys = Annotated[
    Path | None,
    typer.Option(
        help="Drop the samples whose keys are in this file, one per line; the page of `factory serve` "
        "writes such a list.",
        metavar="FILE",
    ),
]


@one_line_errors
def subset(  # noqa: PLR0913, PLR0917 - a setting each
    dataset: Where,
    output: Output,
    classes: Classes = None,
    area: Area = None,
    min_confidence: MinConfidence = 0.0,
    min_agreement: MinAgreement = 0.0,
    without_repeats: WithoutRepeats = False,  # noqa: FBT002 - a command line flag
    without_keys: WithoutKeys = None,
    name: Name = "",
    samples_per_shard: PerShard = 1000,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Copy some samples of a dataset to a new one, with receipts of its own."""
    rule = _rule(classes, area, min_confidence, without_repeats=without_repeats)
    rule = replace(rule, min_agreement=min_agreement, without_keys=_keys_in(without_keys))
    _tell(_derive([dataset], output, rule, name, samples_per_shard), output, as_json=as_json)


@one_line_errors
def merge(
    datasets: Annotated[
        list[str], typer.Argument(help="Dataset folders or URIs.", metavar="DATASET")
    ],
    output: Output,
    without_repeats: WithoutRepeats = False,  # noqa: FBT002 - a command line flag
    name: Name = "",
    samples_per_shard: PerShard = 1000,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Copy the samples of several datasets with the same classes to a new one."""
    rule = _rule(None, None, 0.0, without_repeats=without_repeats)
    _tell(_derive(datasets, output, rule, name, samples_per_shard), output, as_json=as_json)


def _rule(
    classes: list[str] | None,
    area: list[str] | None,
    min_confidence: float,
    *,
    without_repeats: bool,
) -> "Rule":
    from factory.derive.rule import Rule, parse_areas

    return Rule(tuple(classes or ()), min_confidence, parse_areas(area or ()), without_repeats)


def _keys_in(path: Path | None) -> "KeyList | None":
    from factory.derive.key_list import read_key_list

    return None if path is None else read_key_list(path)


def _derive(
    datasets: list[str], output: str, rule: "Rule", name: str, samples_per_shard: int
) -> "Manifest":
    from factory.derive.copy import derive_dataset
    from factory.store import open_store

    return derive_dataset(
        [find_store(dataset) for dataset in datasets],
        open_store(output),
        rule,
        name=name,
        samples_per_shard=samples_per_shard,
    )


def _tell(manifest: "Manifest", output: str, *, as_json: bool) -> None:
    num_shards = len(manifest.records)
    if as_json:
        facts = {"samples": manifest.num_samples, "shards": num_shards}
        print_json({"output": output, "dataset_id": manifest.dataset_id, **facts})
        return
    say(f"wrote {manifest.num_samples:,} samples in {num_shards:,} shards to {output}")
